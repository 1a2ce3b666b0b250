package graphtest

import (
	"compress/gzip"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
)

// schemas are those that were read, by path: reading takes a third of a second.
var schemas sync.Map

// readCSDL reads the schema that Microsoft publishes, the CSDL document of Graph
// v1.0, as XML or gzip of it.
func readCSDL(path string) (*model, error) {
	if m, ok := schemas.Load(path); ok {
		return m.(*model), nil
	}
	m, err := openCSDL(path)
	if err == nil {
		schemas.Store(path, m)
	}
	return m, err
}

func openCSDL(path string) (*model, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read schema: %w", err)
	}
	defer file.Close()
	var r io.Reader = file
	if strings.HasSuffix(path, ".gz") {
		if r, err = gzip.NewReader(file); err != nil {
			return nil, fmt.Errorf("read schema %s: %w", path, err)
		}
	}
	m, err := parseCSDL(r)
	if err != nil {
		return nil, fmt.Errorf("read schema %s: %w", path, err)
	}
	return m, nil
}

type csdlSchema struct {
	Namespace    string     `xml:",attr"`
	EntityTypes  []csdlType `xml:"EntityType"`
	ComplexTypes []csdlType `xml:"ComplexType"`
	EnumTypes    []struct {
		Name    string `xml:",attr"`
		Members []struct {
			Name string `xml:",attr"`
		} `xml:"Member"`
	} `xml:"EnumType"`
	Actions   []csdlOperation `xml:"Action"`
	Functions []csdlOperation `xml:"Function"`
	Container struct {
		Sets []struct {
			Name       string `xml:",attr"`
			EntityType string `xml:",attr"`
		} `xml:"EntitySet"`
		Singletons []struct {
			Name string `xml:",attr"`
			Type string `xml:",attr"`
		} `xml:"Singleton"`
	} `xml:"EntityContainer"`
}

type csdlType struct {
	Name       string `xml:",attr"`
	BaseType   string `xml:",attr"`
	HasStream  bool   `xml:",attr"`
	Properties []struct {
		Name string `xml:",attr"`
		Type string `xml:",attr"`
	} `xml:"Property"`
	Navigation []struct {
		Name string `xml:",attr"`
		Type string `xml:",attr"`
	} `xml:"NavigationProperty"`
}

type csdlOperation struct {
	Name       string `xml:",attr"`
	IsBound    bool   `xml:",attr"`
	Parameters []struct {
		Name string `xml:",attr"`
		Type string `xml:",attr"`
	} `xml:"Parameter"`
}

// parseCSDL reads the namespace microsoft.graph of a CSDL document.
func parseCSDL(r io.Reader) (*model, error) {
	d := xml.NewDecoder(r)
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			return nil, errors.New("no namespace microsoft.graph")
		}
		if err != nil {
			return nil, err
		}
		start, ok := token.(xml.StartElement)
		if !ok || start.Name.Local != "Schema" {
			continue
		}
		var schema csdlSchema
		if err := d.DecodeElement(&schema, &start); err != nil {
			return nil, err
		}
		if schema.Namespace == "microsoft.graph" {
			return schema.model(), nil
		}
	}
}

func (s *csdlSchema) model() *model {
	m := newModel()
	add := func(types []csdlType, entity bool) {
		for _, t := range types {
			facts := &typeFacts{name: t.Name, base: csdlName(t.BaseType), entity: entity, stream: t.HasStream,
				properties: make(map[string]string), navigation: make(map[string]string)}
			for _, p := range t.Properties {
				facts.properties[p.Name] = csdlName(p.Type)
			}
			for _, p := range t.Navigation {
				facts.navigation[p.Name] = csdlName(p.Type)
			}
			m.types[t.Name] = facts
		}
	}
	add(s.EntityTypes, true)
	add(s.ComplexTypes, false)
	for _, e := range s.EnumTypes {
		for _, member := range e.Members {
			m.enums[e.Name] = append(m.enums[e.Name], member.Name)
		}
	}
	operations := func(all []csdlOperation, action bool) {
		for _, o := range all {
			if !o.IsBound || len(o.Parameters) == 0 {
				continue
			}
			bound := operation{action: action, binding: csdlName(o.Parameters[0].Type), parameters: make(map[string]string)}
			for _, p := range o.Parameters[1:] {
				bound.parameters[p.Name] = csdlName(p.Type)
			}
			m.operations[o.Name] = append(m.operations[o.Name], bound)
		}
	}
	operations(s.Actions, true)
	operations(s.Functions, false)
	for _, set := range s.Container.Sets {
		m.roots[set.Name] = root{typ: csdlName(set.EntityType)}
	}
	for _, single := range s.Container.Singletons {
		m.roots[single.Name] = root{typ: csdlName(single.Type), singleton: true}
	}
	return m
}

// csdlName is the name of a type as [model] has it.
func csdlName(name string) string {
	inner, collection := strings.CutPrefix(name, "Collection(")
	if collection {
		inner = strings.TrimSuffix(inner, ")")
	}
	for _, namespace := range []string{"microsoft.graph.", "graph.", "Edm."} {
		if rest, ok := strings.CutPrefix(inner, namespace); ok && !strings.Contains(rest, ".") {
			inner = rest
			break
		}
	}
	if collection {
		return "[]" + inner
	}
	return inner
}
