// Package owner lets a command that an administrator runs as root leave files
// with the owner that the daemon's files have.
package owner
