package config

import "strings"

// unbuilt is a part of the grammar that is checked but not built: a key, given
// by its path in its mapping, or one value of it. A value that ends in * is the
// beginning of one; an empty value stands for any.
type unbuilt struct{ path, value string }

func unbuiltInFile() []unbuilt {
	return []unbuilt{
		{"repository.type", "s3"},
		{"repository.type", "mfiles"},
		{"ledger", "postgres://*"},
		{"ledger", "postgresql://*"},
		{"outgoing", ""},
	}
}

func unbuiltInCredentials() []unbuilt {
	return []unbuilt{
		{"type", "google"},
	}
}

// notBuilt returns what of the mapping is not built yet.
func (s *scope) notBuilt(parts []unbuilt, n *node) []Problem {
	var problems []Problem
	for _, part := range parts {
		e := n.find(part.path)
		if e == nil || e.value.kind == nullNode {
			continue
		}
		if part.value == "" {
			problems = append(problems, Problem{e.pos, part.path + ": not built yet"})
			continue
		}
		text := s.expand(e.value).text
		prefix, open := strings.CutSuffix(part.value, "*")
		if text == part.value || open && strings.HasPrefix(text, prefix) {
			problems = append(problems, Problem{e.value.pos, part.path + ": " + prefix + ": not built yet"})
		}
	}
	return problems
}
