package graphtest

// CheckEntity reports what of an entity, as JSON has it, is not of the type.
func CheckEntity(typ string, entity map[string]any) error {
	if p := facts().checkProperties(typ, entity); p != nil {
		return p
	}
	return nil
}
