package frame_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// drawnRow is one line of a drawing in a doc comment.
type drawnRow struct {
	offset, bytes int // bytes is -1 where three dots are drawn
	name, text    string
}

// end returns the offset behind the row.
func (r drawnRow) end() int { return r.offset + r.bytes }

var (
	rowPattern  = regexp.MustCompile(`^\t *(\d+) +(\d+|\.\.\.) +(\S+(?: \S+)*?)(?: {2,}(.*))?$`)
	headPattern = regexp.MustCompile(`^\t *offset +bytes +(?:field|block)(?: |$)`)
)

// source is the package's source with its comments.
type source struct {
	docs  map[string]string   // doc comments by type, or by the first constant of a group; "" is the package's
	names map[string][]string // the constants of a group, by the first one
}

// parseSource reads the package's Go files, tests excluded.
func parseSource(t testing.TB) *source {
	t.Helper()
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	s := &source{docs: map[string]string{}, names: map[string][]string{}}
	fset := token.NewFileSet()
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(fset, name, nil, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		if f.Doc != nil {
			s.docs[""] += f.Doc.Text()
		}
		for _, d := range f.Decls {
			if g, ok := d.(*ast.GenDecl); ok && len(g.Specs) > 0 {
				s.add(g)
			}
		}
	}
	return s
}

// add takes a declaration in.
func (s *source) add(g *ast.GenDecl) {
	switch first := g.Specs[0].(type) {
	case *ast.TypeSpec:
		s.docs[first.Name.Name] = g.Doc.Text()
	case *ast.ValueSpec:
		key := first.Names[0].Name
		s.docs[key] = g.Doc.Text()
		for _, spec := range g.Specs {
			for _, id := range spec.(*ast.ValueSpec).Names {
				s.names[key] = append(s.names[key], id.Name)
			}
		}
	}
}

// drawing returns the rows drawn in the doc comment of a declaration.
func (s *source) drawing(t testing.TB, decl string) []drawnRow {
	t.Helper()
	var rows []drawnRow
	inside := false
	for line := range strings.Lines(s.docs[decl]) {
		line = strings.TrimRight(line, "\n")
		switch {
		case headPattern.MatchString(line):
			if rows != nil {
				t.Fatalf("%q has two drawings", decl)
			}
			inside = true
		case inside && !strings.HasPrefix(line, "\t"):
			inside = false
		case inside:
			m := rowPattern.FindStringSubmatch(line)
			if m == nil {
				t.Fatalf("%q: cannot read the drawing's line %q", decl, line)
			}
			r := drawnRow{offset: atoi(t, m[1]), bytes: -1, name: m[3], text: m[4]}
			if m[2] != "..." {
				r.bytes = atoi(t, m[2])
			}
			rows = append(rows, r)
		}
	}
	if rows == nil {
		t.Fatalf("%q has no drawing", decl)
	}
	return rows
}

// atoi converts a number that a pattern matched.
func atoi(t testing.TB, s string) int {
	t.Helper()
	n, err := strconv.Atoi(s)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// checkTiles fails unless the rows cover size bytes without gap or overlap.
func checkTiles(t testing.TB, rows []drawnRow, size int) {
	t.Helper()
	at := 0
	for _, r := range rows {
		if r.offset != at || r.bytes <= 0 {
			t.Errorf("field %q is drawn at %d with %d bytes, the fields before end at %d", r.name, r.offset, r.bytes, at)
		}
		at = r.end()
	}
	if at != size {
		t.Errorf("the drawing has %d bytes, the encoding %d", at, size)
	}
}

// textNumber returns the number that pattern's group finds in text.
func textNumber(t testing.TB, text, pattern string) int {
	t.Helper()
	m := regexp.MustCompile(pattern).FindStringSubmatch(strings.Join(strings.Fields(text), " "))
	if m == nil {
		t.Fatalf("%q does not say %q", text, pattern)
	}
	return atoi(t, m[1])
}
