package graphtest

import (
	"slices"
	"strings"
	"time"
)

// checkBody checks the properties of a body against the type or the parameters
// of the action that it is for.
func (m *model) checkBody(t *target, body map[string]any) *problem {
	if t.operation == nil {
		return m.checkProperties(element(t.typ), body)
	}
	for name, value := range body {
		if strings.HasPrefix(name, "@odata.") {
			continue
		}
		of := ""
		for parameter, typ := range t.operation.parameters {
			// The documentation writes destinationId where the schema has
			// DestinationId; the service takes both.
			if strings.EqualFold(parameter, name) {
				of = typ
			}
		}
		if of == "" {
			return badRequest("The parameter '%s' in the request payload is not a valid parameter for the operation.", name)
		}
		if p := m.checkValue(name, of, value); p != nil {
			return p
		}
	}
	return nil
}

func (m *model) checkProperties(typ string, body map[string]any) *problem {
	if name, ok := body["@odata.type"].(string); ok {
		derived := strings.TrimPrefix(strings.TrimPrefix(name, "#"), "microsoft.graph.")
		if !m.is(derived, typ) {
			return badRequest("The type '%s' is not derived from 'microsoft.graph.%s'.", name, typ)
		}
		typ = derived
	}
	for name, value := range body {
		if strings.HasPrefix(name, "@") || strings.Contains(name, "@odata.") {
			continue
		}
		of, _ := m.property(typ, name)
		if of == "" {
			return illegal(400, "RequestBodyRead", "The property '%s' does not exist on type 'microsoft.graph.%s'. Make sure to only use property names that are defined by the type.", name, typ)
		}
		if p := m.checkValue(name, of, value); p != nil {
			return p
		}
	}
	return nil
}

// checkValue checks a value against its type.
func (m *model) checkValue(name, of string, value any) *problem {
	wrong := illegal(400, "RequestBodyRead", "Cannot convert the value of '%s' to the expected type 'Edm.%s'.", name, of)
	if value == nil {
		return nil
	}
	if inner, ok := strings.CutPrefix(of, "[]"); ok {
		list, isList := value.([]any)
		if !isList {
			return wrong
		}
		for _, one := range list {
			if p := m.checkValue(name, inner, one); p != nil {
				return p
			}
		}
		return nil
	}
	ok := true
	switch of {
	case "Boolean":
		_, ok = value.(bool)
	case "Int32", "Int64", "Double":
		_, ok = value.(float64)
	case "String", "Binary":
		_, ok = value.(string)
	case "DateTimeOffset":
		var text string
		if text, ok = value.(string); ok {
			_, err := time.Parse(time.RFC3339Nano, text)
			ok = err == nil
		}
	default:
		if members := m.enums[of]; members != nil {
			text, isText := value.(string)
			ok = isText && slices.ContainsFunc(members, func(member string) bool { return strings.EqualFold(member, text) })
			break
		}
		properties, isObject := value.(map[string]any)
		if m.types[of] != nil && isObject {
			return m.checkProperties(of, properties)
		}
		ok = m.types[of] == nil
	}
	if !ok {
		return wrong
	}
	return nil
}
