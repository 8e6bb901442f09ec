package main

import (
	"bytes"
	"strings"
	"testing"
)

func TestSummary(t *testing.T) {
	const begin = `{"Action":"run","Package":"m/seawall/wal","Test":"TestA"}` + "\n"
	for name, c := range map[string]struct {
		in   string
		want []string // the summary's lines
	}{
		"all passed": {begin + `{"Action":"pass","Package":"m/seawall/wal","Test":"TestA","Elapsed":1}`, nil},
		"a subtest": {
			begin + `{"Action":"output","Package":"m/seawall/wal","Test":"TestA/b","Output":"    a_test.go:7: it is 1, want 2\n"}
{"Action":"output","Package":"m/seawall/wal","Test":"TestA/b","Output":"    a_test.go:8: seed: SEAWALL_SEED=9\n"}
{"Action":"fail","Package":"m/seawall/wal","Test":"TestA/b"}
{"Action":"fail","Package":"m/seawall/wal","Test":"TestA"}
{"Action":"fail","Package":"m/seawall/wal"}`,
			[]string{"  wal TestA/b", "      a_test.go:7: it is 1, want 2", "      a_test.go:8: seed: SEAWALL_SEED=9", "  again: SEAWALL_SEED=9 go test -run '^TestA$' ./wal"},
		},
		"a skip": {
			begin + `{"Action":"output","Package":"m/seawall/wal","Test":"TestA","Output":"    a_test.go:7: no root\n"}
{"Action":"skip","Package":"m/seawall/wal","Test":"TestA"}
{"Action":"skip","Package":"m/seawall/wal","Test":"TestMay"}
{"Action":"pass","Package":"m/seawall/wal"}`,
			[]string{"  wal TestA was skipped, and should have run", "      a_test.go:7: no root", "  again: go test -run '^TestA$' ./wal"},
		},
		"a process that dies": {
			begin + `{"Action":"output","Package":"m/seawall/wal","Output":"unexpected fault address\n"}
{"Action":"fail","Package":"m/seawall/wal"}`,
			[]string{"  wal TestA", "      unexpected fault address", "  again: go test -run '^TestA$' ./wal"},
		},
		"no build": {
			`{"ImportPath":"m/seawall/wal [m/seawall/wal.test]","Action":"build-output","Output":"wal/a.go:1:1: undefined: x\n"}
{"ImportPath":"m/seawall/wal [m/seawall/wal.test]","Action":"build-fail"}
{"Action":"fail","Package":"m/seawall/wal"}`,
			[]string{"  wal", "      wal/a.go:1:1: undefined: x", "  again: go test ./wal"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			r := &run{out: &out, maySkip: []string{"TestMay"}, tests: map[string]*test{}}
			if err := r.read(strings.NewReader(c.in)); err != nil {
				t.Fatal(err)
			}
			var got []string
			if failed := r.failed(); len(failed) > 0 {
				got = r.lines(failed, "go test")
			}
			if strings.Join(got, "\n") != strings.Join(c.want, "\n") {
				t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(c.want, "\n"))
			}
		})
	}
}

// TestTenLines keeps the summary of many failures short.
func TestTenLines(t *testing.T) {
	var in strings.Builder
	for _, name := range []string{"A", "B", "C", "D", "E", "F", "G"} {
		for range 5 {
			in.WriteString(`{"Action":"output","Package":"m/seawall/wal","Test":"Test` + name + `","Output":"    a_test.go:7: wrong\n"}` + "\n")
		}
		in.WriteString(`{"Action":"fail","Package":"m/seawall/wal","Test":"Test` + name + `"}` + "\n")
	}
	r := &run{out: &bytes.Buffer{}, tests: map[string]*test{}}
	if err := r.read(strings.NewReader(in.String())); err != nil {
		t.Fatal(err)
	}
	got := r.lines(r.failed(), "go test")
	if len(got) > 10 || !strings.Contains(got[len(got)-1], "TestA|TestB|") {
		t.Errorf("%d lines:\n%s", len(got), strings.Join(got, "\n"))
	}
}
