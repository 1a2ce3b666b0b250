// Package service is what postroom and the operating system's service manager
// have to say to each other.
package service
