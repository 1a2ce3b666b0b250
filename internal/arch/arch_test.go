package arch

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
)

const (
	module   = "postroom"
	everyone = module + "/..."
	graphSDK = "github.com/microsoftgraph/..."
)

// A pattern is an import path, or one that ends in "/..." and stands for that
// path and all below it.
type pattern string

func (p pattern) matches(path string) bool {
	root, below := strings.CutSuffix(string(p), "/...")
	return path == root || below && strings.HasPrefix(path, root+"/")
}

func anyMatches(ps []pattern, path string) bool {
	return slices.ContainsFunc(ps, func(p pattern) bool { return p.matches(path) })
}

// A rule says what the packages of a room may import.
type rule struct {
	room   []pattern // whom it binds
	except []pattern // whom of those it does not
	// own: the rule binds each package right below the room, together with all
	// below that, as a room of its own, which may import itself.
	own     bool
	of      []pattern // the imports that it is about
	allowed []pattern // those of them that are allowed
	tests   []pattern // those that are allowed in tests besides
	why     string
}

// rules is "Imports point down" in full.
var rules = []rule{
	{
		room:    []pattern{"postroom/sources", "postroom/store"},
		of:      []pattern{everyone},
		allowed: []pattern{"postroom/internal/..."},
		why:     "a contract knows nothing of who keeps it or relies on it",
	},
	{
		room:    []pattern{"postroom/sources/..."},
		except:  []pattern{"postroom/sources"},
		own:     true,
		of:      []pattern{everyone},
		allowed: []pattern{"postroom/sources", "postroom/internal/..."},
		tests:   []pattern{"postroom/sources/sourcetest"},
		why:     "a source knows its contract and internal ground, and no other source, no repository, no engine",
	},
	{
		room:    []pattern{"postroom/store/..."},
		except:  []pattern{"postroom/store"},
		own:     true,
		of:      []pattern{everyone},
		allowed: []pattern{"postroom/store", "postroom/internal/..."},
		tests:   []pattern{"postroom/store/storetest"},
		why:     "a repository knows its contract and internal ground, and no other repository, no source, no engine",
	},
	{
		room:    []pattern{"postroom/internal/..."},
		except:  []pattern{"postroom/internal/bench"},
		of:      []pattern{everyone},
		allowed: []pattern{"postroom/internal/..."},
		why:     "internal ground knows nothing above it",
	},
	{
		room:    []pattern{"postroom/internal/bench"},
		of:      []pattern{everyone},
		allowed: []pattern{"postroom/internal/...", "postroom/ingest/message", "postroom/ingest/outlook/..."},
		why:     "the measurement is a program of its own: it measures commands, and the conversion to .msg by itself",
	},
	{
		room:    []pattern{"postroom/ingest/..."},
		of:      []pattern{everyone},
		allowed: []pattern{"postroom/ingest/...", "postroom/sources", "postroom/store", "postroom/internal/..."},
		tests:   []pattern{"postroom/sources/sourcetest", "postroom/store/storetest"},
		why:     "the engine knows contracts; only cmd names concrete drivers",
	},
	{
		room:    []pattern{"postroom/ingest/message/..."},
		of:      []pattern{everyone},
		allowed: []pattern{"postroom/ingest/message/...", "postroom/internal/..."},
		why:     "reading mail has nothing to do with ingestion",
	},
	{
		room:    []pattern{"postroom/ingest/outlook/..."},
		except:  []pattern{"postroom/ingest/outlook"},
		of:      []pattern{everyone},
		allowed: []pattern{"postroom/ingest/outlook/...", "postroom/internal/..."},
		why:     "a compound file knows nothing of mail",
	},
	{
		room:    []pattern{"postroom/ingest/outlook"},
		of:      []pattern{everyone},
		allowed: []pattern{"postroom/ingest/outlook/...", "postroom/ingest/message/...", "postroom/internal/..."},
		why:     "writing .msg knows how mail is read and nothing of ingestion: both are to be lifted out whole one day",
	},
	{
		room:   []pattern{everyone},
		except: []pattern{"postroom/internal/graph/..."},
		of:     []pattern{graphSDK},
		why:    "internal/graph alone imports the Graph SDK",
	},
	{
		room:   []pattern{everyone},
		except: []pattern{"postroom/cmd/..."},
		of:     []pattern{"github.com/spf13/viper/..."},
		why:    "viper is for process settings, and those are of cmd",
	},
	{
		room:  []pattern{everyone},
		of:    []pattern{"text/template", "html/template"},
		tests: []pattern{"text/template", "html/template"},
		why:   "templates call methods by name, so that the linker keeps every method of the Graph SDK: some 37 MB",
	},
}

// rooms are where packages may be.
var rooms = []pattern{
	"postroom/cmd/...", "postroom/ingest/...", "postroom/sources/...", "postroom/store/...", "postroom/internal/...",
}

// pkg is what go list tells of a package.
type pkg struct {
	ImportPath   string
	Imports      []string
	TestImports  []string
	XTestImports []string
	ImportMap    map[string]string
	Module       *struct{ Path, Dir string }
}

// graph is every package of the module and all that they import, by path.
type graph map[string]*pkg

// own returns the packages of this module, in order.
func (g graph) own() []*pkg {
	var own []*pkg
	for _, path := range slices.Sorted(maps.Keys(g)) {
		if pattern(everyone).matches(path) {
			own = append(own, g[path])
		}
	}
	return own
}

// violations returns a message for every import that the rules forbid.
func violations(g graph, rules []rule) []string {
	var found []string
	for _, p := range g.own() {
		for _, r := range rules {
			if !anyMatches(r.room, p.ImportPath) || anyMatches(r.except, p.ImportPath) {
				continue
			}
			allowed := slices.Clone(r.allowed)
			if r.own {
				allowed = append(allowed, r.ownRoom(p.ImportPath))
			}
			report := func(imports []string, kind string, allowed []pattern) {
				for _, imported := range imports {
					if anyMatches(r.of, imported) && !anyMatches(allowed, imported) {
						found = append(found, fmt.Sprintf("%s may not import %s%s: %s", p.ImportPath, imported, kind, r.why))
					}
				}
			}
			report(p.Imports, "", allowed)
			inTests := append(allowed, r.tests...)
			inTests = append(inTests, pattern(p.ImportPath)) // an external test imports its package
			report(slices.Concat(p.TestImports, p.XTestImports), " in its tests", inTests)
		}
	}
	return found
}

// ownRoom returns the room right below the rule's that path is in.
func (r rule) ownRoom(path string) pattern {
	for _, room := range r.room {
		root, _ := strings.CutSuffix(string(room), "/...")
		if below, ok := strings.CutPrefix(path, root+"/"); ok {
			name, _, _ := strings.Cut(below, "/")
			return pattern(root + "/" + name + "/...")
		}
	}
	return pattern(path)
}

// chain returns how from comes to link to: the import paths from one to the
// other, or nil if it does not.
func (g graph) chain(from, to string) []string {
	cameFrom := map[string]string{from: ""}
	for queue := []string{from}; len(queue) > 0; queue = queue[1:] {
		p, ok := g[queue[0]]
		if !ok {
			continue
		}
		for _, imported := range p.Imports {
			if actual, ok := p.ImportMap[imported]; ok {
				imported = actual
			}
			if _, seen := cameFrom[imported]; seen {
				continue
			}
			cameFrom[imported] = p.ImportPath
			if imported != to {
				queue = append(queue, imported)
				continue
			}
			var chain []string
			for at := to; at != ""; at = cameFrom[at] {
				chain = append(chain, at)
			}
			slices.Reverse(chain)
			return chain
		}
	}
	return nil
}

const moduleRoot = "../.."

// list runs go list once for each operating system that postroom is built for.
var list = sync.OnceValues(func() (map[string]graph, error) {
	graphs := map[string]graph{}
	for _, goos := range []string{"linux", "windows"} {
		cmd := exec.Command("go", "list", "-deps", "-json=ImportPath,Imports,TestImports,XTestImports,ImportMap,Module", "./...")
		cmd.Dir = moduleRoot
		cmd.Env = append(os.Environ(), "GOOS="+goos, "CGO_ENABLED=0")
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		out, err := cmd.Output()
		if err != nil {
			return nil, fmt.Errorf("go list for %s: %w\n%s", goos, err, stderr.Bytes())
		}
		g := graph{}
		for d := json.NewDecoder(bytes.NewReader(out)); ; {
			p := new(pkg)
			if err := d.Decode(p); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				return nil, fmt.Errorf("read go list for %s: %w", goos, err)
			}
			g[p.ImportPath] = p
		}
		graphs[goos] = g
	}
	return graphs, nil
})

// eachSystem runs the test on the packages as built for each operating system.
func eachSystem(t *testing.T, test func(t *testing.T, g graph)) {
	t.Helper()
	noticeChanges(t)
	graphs, err := list()
	if err != nil {
		t.Fatal(err)
	}
	for _, goos := range slices.Sorted(maps.Keys(graphs)) {
		t.Run(goos, func(t *testing.T) { test(t, graphs[goos]) })
	}
}

// noticeChanges looks at every Go file of the module itself. go test caches a
// result by the files that the test looked at, and does not see those of go list.
func noticeChanges(t *testing.T) {
	t.Helper()
	err := filepath.WalkDir(moduleRoot, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() && d.Name() == ".git" {
			return fs.SkipDir
		}
		if err == nil && filepath.Ext(path) == ".go" {
			_, err = os.Stat(path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestImportsPointDown(t *testing.T) {
	eachSystem(t, func(t *testing.T, g graph) {
		for _, violation := range violations(g, rules) {
			t.Error(violation)
		}
	})
}

func TestEveryPackageIsInARoom(t *testing.T) {
	eachSystem(t, func(t *testing.T, g graph) {
		own := g.own()
		if len(own) < 5 {
			t.Fatalf("go list found only %d packages of %s", len(own), module)
		}
		for _, p := range own {
			if !anyMatches(rooms, p.ImportPath) {
				t.Errorf("%s is in none of %q", p.ImportPath, rooms)
			}
		}
	})
}

// TestTheBinaryLinksNoTestCode holds also for stand-ins that the demo links.
func TestTheBinaryLinksNoTestCode(t *testing.T) {
	eachSystem(t, func(t *testing.T, g graph) {
		for _, p := range g.own() {
			if !pattern("postroom/cmd/...").matches(p.ImportPath) {
				continue
			}
			if chain := g.chain(p.ImportPath, "testing"); chain != nil {
				t.Errorf("%s links testing: %s", p.ImportPath, strings.Join(chain, " → "))
			}
		}
	})
}

// gpl matches the title of a licence of the GPL family, not its mention.
var gpl = regexp.MustCompile(`(?m)^\s*GNU (AFFERO |LESSER |LIBRARY )?GENERAL PUBLIC LICENSE\s*$`)

func TestLicencesOfWhatIsLinked(t *testing.T) {
	eachSystem(t, func(t *testing.T, g graph) {
		dirs := map[string]string{}
		for _, p := range g {
			if p.Module != nil && p.Module.Path != module {
				dirs[p.Module.Path] = p.Module.Dir
			}
		}
		for _, path := range slices.Sorted(maps.Keys(dirs)) {
			licences, err := licencesIn(dirs[path])
			if err != nil {
				t.Fatal(err)
			}
			if len(licences) == 0 {
				t.Errorf("%s has no licence", path)
			}
			for file, text := range licences {
				if gpl.Match(text) {
					t.Errorf("%s is under the %s (%s), which binds whoever links it", path, bytes.TrimSpace(gpl.Find(text)), file)
				}
			}
		}
	})
}

// licencesIn returns the licence files of a module by name: LICENSE, UNLICENSE,
// COPYING and the like.
func licencesIn(dir string) (map[string][]byte, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	licences := map[string][]byte{}
	for _, e := range entries {
		name := strings.ToUpper(e.Name())
		if e.IsDir() || !strings.Contains(name, "LICEN") && !strings.HasPrefix(name, "COPYING") {
			continue
		}
		text, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			return nil, err
		}
		licences[e.Name()] = text
	}
	return licences, nil
}
