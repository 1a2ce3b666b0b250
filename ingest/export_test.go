package ingest

import "postroom/ingest/document"

// RulesKey is rulesKey.
func RulesKey(r document.Rules) string { return rulesKey(r) }
