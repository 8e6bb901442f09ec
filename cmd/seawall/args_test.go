//go:build linux

package main_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	seawall "github.com/seawall-wal/seawall/cmd/seawall"
)

func TestArrange(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"", ""},
		{"append DIR", "append -- DIR"},
		{"append DIR --sync each", "append --sync each -- DIR"},
		{"append --sync each DIR", "append --sync each -- DIR"},
		{"append DIR -sync each", "append -sync each -- DIR"},
		{"append DIR --sync=each --ack", "append --sync=each --ack -- DIR"},
		{"append --ack DIR --batch 5 MORE", "append --ack --batch 5 -- DIR MORE"},
		{"append DIR -- --sync each", "append -- DIR --sync each"},
		{"append --sync -- DIR", "append --sync -- -- DIR"},
		{"append DIR --sync", "append --sync"},
		{"append DIR --nope each", "append --nope -- DIR each"},
		{"append --file - DIR", "append --file - -- DIR"},
		{"append - --ack", "append --ack -- -"},
		{"append DIR --batch -1", "append --batch -1 -- DIR"},
		{"append DIR --help", "append --help"},
		{"append DIR -h --sync", "append -h"},
		{"append append", "append -- append"},
		{"crash kill --seed 5 --json", "crash kill --seed 5 --json"},
		{"crash --seed 5 kill --json", "crash kill --seed 5 --json"},
		{"--seed 5 crash kill", "crash kill --seed 5"},
		{"crash kill DIR --workload kill", "crash kill --workload kill -- DIR"},
		{"crash --json nothing kill", "crash --json -- nothing kill"},
		{"crash -- kill", "crash -- kill"},
		{"crash --help", "crash --help"},
		{"--json verify DIR", "verify --json -- DIR"},
		{"--sync each append DIR --json", "append --sync each --json -- DIR"},
		{"--help append DIR", "--help append -- DIR"},
		{"-v verify DIR", "-v verify -- DIR"},
		{"--version", "--version"},
		{"nothing append --json", "nothing append --json"},
		{"-- append DIR --json", "-- append DIR --json"},
	} {
		got := seawall.Arrange(strings.Fields(c.in)...)
		if diff := cmp.Diff(c.want, strings.Join(got, " ")); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.in, diff)
		}
	}
}

func TestAsksForJSON(t *testing.T) {
	for in, want := range map[string]bool{
		"": false, "--json": true, "verify d -json": true, "verify --json=true d": true,
		"verify -- --json": false, "verify --json=false": false, "verify json": false,
	} {
		if got := seawall.AsksForJSON(strings.Fields(in)...); got != want {
			t.Errorf("%q: %v, want %v", in, got, want)
		}
	}
}
