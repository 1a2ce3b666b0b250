package config

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Position is a place in a configuration file. Line and Column count from 1;
// a column is a character, not a byte.
type Position struct {
	// File is the path as it was given to [Load], or as it follows from there
	// for an included file.
	File         string
	Line, Column int
}

// String returns the position as file:line:column.
func (p Position) String() string { return fmt.Sprintf("%s:%d:%d", p.File, p.Line, p.Column) }

// Problem is something wrong, or to be warned of, at one place. It holds no
// value of the configuration, nor what a ${…} reference stands for; only names
// (see shown.go), and of an included file that exists its path.
type Problem struct {
	Position Position
	// Message is of the form "what is wrong; what is allowed".
	Message string
}

// String returns the problem as file:line:column: message.
func (p Problem) String() string { return p.Position.String() + ": " + p.Message }

// Problems is the error of a configuration that is not valid: all that is wrong
// with it, sorted by file and position.
type Problems []Problem

// Error returns the problems, one a line.
func (p Problems) Error() string {
	lines := make([]string, len(p))
	for i, problem := range p {
		lines[i] = problem.String()
	}
	return strings.Join(lines, "\n")
}

// report collects problems, each once.
type report struct {
	problems Problems
	seen     map[Problem]bool
}

func (r *report) add(at Position, format string, args ...any) {
	r.put(Problem{at, fmt.Sprintf(format, args...)})
}

func (r *report) put(problem Problem) {
	if r.seen == nil {
		r.seen = make(map[Problem]bool)
	}
	if !r.seen[problem] {
		r.seen[problem] = true
		r.problems = append(r.problems, problem)
	}
}

// sorted returns the problems by file and position; those at one position in
// the order in which they were found.
func (r *report) sorted() Problems {
	slices.SortStableFunc(r.problems, func(a, b Problem) int {
		return cmp.Or(
			cmp.Compare(a.Position.File, b.Position.File),
			cmp.Compare(a.Position.Line, b.Position.Line),
			cmp.Compare(a.Position.Column, b.Position.Column),
		)
	})
	return r.problems
}
