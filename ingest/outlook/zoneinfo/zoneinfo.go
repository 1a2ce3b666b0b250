// Package zoneinfo has the time zones of the IANA database, the same on every
// machine: neither its own zones nor ZONEINFO count.
//
// zoneinfo.zip is lib/time/zoneinfo.zip of the Go distribution. The data in it is
// in the public domain (RFC 6557 7).
package zoneinfo

import (
	"archive/zip"
	"bytes"
	_ "embed"
	"fmt"
	"io"
	"sync"
	"time"
)

//go:embed zoneinfo.zip
var archive []byte

// files returns the zones by their names.
var files = sync.OnceValue(func() map[string]*zip.File {
	r, err := zip.NewReader(bytes.NewReader(archive), int64(len(archive)))
	if err != nil {
		panic(fmt.Sprintf("time zones: the database that is built in: %v", err))
	}
	set := map[string]*zip.File{}
	for _, f := range r.File {
		set[f.Name] = f
	}
	return set
})

var loaded sync.Map // *time.Location by name

// Load returns the zone of a name such as Europe/Berlin, spelled as the database
// has it; nil if it has none of that name. It panics if the data that is built in
// is damaged.
func Load(name string) *time.Location {
	if at, ok := loaded.Load(name); ok {
		return at.(*time.Location)
	}
	f := files()[name]
	if f == nil {
		return nil
	}
	at, err := read(f)
	if err != nil {
		panic(fmt.Sprintf("time zone %s: the database that is built in: %v", name, err))
	}
	loaded.Store(name, at)
	return at
}

func read(f *zip.File) (*time.Location, error) {
	r, err := f.Open()
	if err != nil {
		return nil, err
	}
	data, err := io.ReadAll(r)
	if err != nil {
		return nil, err
	}
	return time.LoadLocationFromTZData(f.Name, data)
}
