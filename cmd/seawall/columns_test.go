//go:build linux

package main_test

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	seawall "github.com/seawall-wal/seawall/cmd/seawall"
)

// TestColumnsFit: a table is as wide as its cells, or as a line, where these can be
// broken at spaces.
func TestColumnsFit(t *testing.T) {
	long := strings.Repeat("word ", 30) + "end"
	for _, tt := range []struct {
		name string
		head []string
		rows [][]string
		want []string // nil: only the width is looked at
	}{
		{"narrow", []string{"name", "n"}, [][]string{{"one", "1"}, {"a few", "12"}}, []string{"name    n", "one     1", "a few  12"}},
		{"empty", nil, nil, []string{}},
		{"broken", []string{"name", "n", "what"}, [][]string{{"one", "1", long}, {"two", "22", "short"}}, nil},
		{"two broken", []string{"first", "second"}, [][]string{{long, long}}, nil},
	} {
		got := seawall.Columns(tt.head, tt.rows)
		for _, line := range got {
			if n := utf8.RuneCountInString(line); n > 80 {
				t.Errorf("%s: %d columns: %s", tt.name, n, line)
			}
		}
		if tt.want != nil {
			if d := cmp.Diff(tt.want, append([]string{}, got...)); d != "" {
				t.Errorf("%s: %s", tt.name, d)
			}
		}
		words := strings.Join(strings.Fields(strings.Join(got, " ")), " ")
		if tt.want == nil && strings.Count(words, "word") != strings.Count(strings.Join(tt.rows[0], " "), "word") {
			t.Errorf("%s: words are missing: %s", tt.name, words)
		}
	}
	unbreakable := strings.Repeat("x", 100)
	if got := seawall.Columns([]string{"a"}, [][]string{{unbreakable}}); !strings.Contains(strings.Join(got, "\n"), unbreakable) {
		t.Errorf("a long word is broken: %q", got)
	}
}
