// Package arch holds the house together: its test reads what every package
// imports and fails when an import points up. docs/architecture.md has the plan.
package arch
