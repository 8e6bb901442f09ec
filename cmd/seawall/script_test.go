//go:build linux

package main_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"

	seawall "github.com/seawall-wal/seawall/cmd/seawall"
)

func TestMain(m *testing.M) {
	seawall.BeChild() // the experiments' children are this binary, by its own name, and so are the campaigns'
	testscript.Main(m, map[string]func(){
		"seawall":         seawall.Main,
		"seawall-planted": func() { seawall.MainPlanted(planted{early: true}) },
		"seawall-mended":  func() { seawall.MainPlanted(planted{}) },
		"seawall-other":   func() { seawall.MainPlanted(planted{other: true}) },
		"seawall-stuck":   mainStuck,
	})
}

// TestScripts runs testdata/script. Besides testscript's own commands there
// are:
//
//	exits CODE CMD ARG...    runs a command and checks its exit code
//	bytes FILE TEXT...       writes a file; \n, \x00 and so on as in Go
//	numbers FILE N           writes the lines 1 to N
//	object KEY=JSON...       stdout's last line is one JSON object with these
//	only-object KEY=JSON...  the same, and stdout holds nothing else
//	keys KEY...              stdout's last line is one JSON object with these and no others
//	flip FILE TEXT           flips a bit of the first TEXT in a file
//	tear FILE                writes rubbish behind the last byte that is not zero
//	seawall-planted ARG...   the command, whose campaigns are about a log that is wrong
//	seawall-mended ARG...    the same log, mended, and
//	seawall-other ARG...     with another workload
//	columns N                no line of stdout is longer
//	tmpfs DIR SIZE           mounts a small filesystem; needs [mount]
//	readonly DIR             makes a directory read-only; needs [mount]
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		Setup: func(e *testscript.Env) error {
			e.Setenv("GORACE", os.Getenv("GORACE")) // how the race detector is set up, if it is on
			return nil
		},
		Condition: func(cond string) (bool, error) {
			if cond != "mount" {
				return false, fmt.Errorf("unknown condition %s", cond)
			}
			err := mayMount()
			if err != nil && os.Getenv("SEAWALL_CI") == "1" {
				return false, err
			}
			return err == nil, nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits": scriptExits, "bytes": scriptBytes, "numbers": scriptNumbers,
			"object": scriptObject, "only-object": scriptOnlyObject, "flip": scriptFlip,
			"keys": scriptKeys, "tear": scriptTear, "columns": scriptColumns, "tmpfs": scriptTmpfs, "readonly": scriptReadonly,
		},
	})
}

// mayMount returns why this process cannot mount a filesystem, or nil.
func mayMount() error {
	dir, err := os.MkdirTemp("", "seawall-mount")
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(dir) }()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=64k"); err != nil {
		return fmt.Errorf("cannot mount a tmpfs (are you root?): %w", err)
	}
	return unix.Unmount(dir, unix.MNT_DETACH)
}

func scriptExits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE CMD ARG...")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	err = ts.Exec(args[1], args[2:]...)
	got := 0
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		got = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}

func scriptBytes(ts *testscript.TestScript, _ bool, args []string) {
	text, err := strconv.Unquote(`"` + strings.ReplaceAll(strings.Join(args[1:], " "), `"`, `\"`) + `"`)
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(text), 0o666))
}

func scriptNumbers(ts *testscript.TestScript, _ bool, args []string) {
	n, err := strconv.Atoi(args[1])
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), numbers(1, n), 0o666))
}

// numbers returns the lines from first to last.
func numbers(first, last int) []byte {
	var b []byte
	for i := first; i <= last; i++ {
		b = append(strconv.AppendInt(b, int64(i), 10), '\n')
	}
	return b
}

func scriptOnlyObject(ts *testscript.TestScript, neg bool, args []string) {
	if n := strings.Count(ts.ReadFile("stdout"), "\n"); n != 1 {
		ts.Fatalf("stdout has %d lines, want one object", n)
	}
	scriptObject(ts, neg, args)
}

func scriptObject(ts *testscript.TestScript, _ bool, args []string) {
	lines := strings.Split(strings.TrimSuffix(ts.ReadFile("stdout"), "\n"), "\n")
	var got map[string]any
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &got); err != nil {
		ts.Fatalf("stdout ends with no JSON object: %v", err)
	}
	for _, a := range args {
		key, text, ok := strings.Cut(a, "=")
		v, there := got[key]
		if !there {
			ts.Fatalf("no key %q", key)
		}
		if !ok {
			continue
		}
		var want any
		if err := json.Unmarshal([]byte(text), &want); err != nil {
			ts.Fatalf("%s: %v", a, err)
		}
		if !reflect.DeepEqual(v, want) {
			ts.Fatalf("%s is %v, want %v", key, v, want)
		}
	}
}

func scriptKeys(ts *testscript.TestScript, _ bool, args []string) {
	lines := strings.Split(strings.TrimSuffix(ts.ReadFile("stdout"), "\n"), "\n")
	var got map[string]any
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &got); err != nil {
		ts.Fatalf("stdout ends with no JSON object: %v", err)
	}
	if have, want := slices.Sorted(maps.Keys(got)), slices.Sorted(slices.Values(args)); !slices.Equal(have, want) {
		ts.Fatalf("the keys are %q, want %q", have, want)
	}
}

// scriptFlip flips a bit of a text in a segment, where the text occurs last: the
// end of a frame header may be the text's first character, with the rest of it at
// the beginning of the payload.
func scriptFlip(ts *testscript.TestScript, _ bool, args []string) {
	data := []byte(ts.ReadFile(args[0]))
	at := bytes.LastIndex(data, []byte(args[1]))
	if at < 0 {
		ts.Fatalf("%s does not hold %q", args[0], args[1])
	}
	writeAt(ts, args[0], []byte{data[at] ^ 1}, int64(at))
}

func scriptTear(ts *testscript.TestScript, _ bool, args []string) {
	data := bytes.TrimRight([]byte(ts.ReadFile(args[0])), "\x00")
	writeAt(ts, args[0], bytes.Repeat([]byte{0xa5}, 100), int64(len(data)+64)&^7)
}

// writeAt overwrites a part of a file.
func writeAt(ts *testscript.TestScript, name string, p []byte, off int64) {
	f, err := os.OpenFile(ts.MkAbs(name), os.O_WRONLY, 0)
	ts.Check(err)
	_, err = f.WriteAt(p, off)
	ts.Check(errors.Join(err, f.Close()))
}

func scriptColumns(ts *testscript.TestScript, _ bool, args []string) {
	width, err := strconv.Atoi(args[0])
	ts.Check(err)
	for _, line := range strings.Split(ts.ReadFile("stdout"), "\n") {
		if len([]rune(line)) > width {
			ts.Fatalf("longer than %d columns: %s", width, line)
		}
	}
}

func scriptTmpfs(ts *testscript.TestScript, _ bool, args []string) {
	dir := ts.MkAbs(args[0])
	ts.Check(os.MkdirAll(dir, 0o777))
	ts.Check(unix.Mount("tmpfs", dir, "tmpfs", 0, "size="+args[1]))
	ts.Defer(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
}

func scriptReadonly(ts *testscript.TestScript, _ bool, args []string) {
	dir := ts.MkAbs(args[0])
	ts.Check(unix.Mount(dir, dir, "", unix.MS_BIND, ""))
	ts.Defer(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
	ts.Check(unix.Mount("", dir, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY, ""))
}

// TestScriptsCoverExitCodes sees to it that each exit code of the table has a
// script or a test that expects it.
func TestScriptsCoverExitCodes(t *testing.T) {
	files, err := filepath.Glob("testdata/script/*.txtar")
	if err != nil {
		t.Fatal(err)
	}
	var seen []string
	for _, f := range files {
		data, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		for _, line := range strings.Split(string(data), "\n") {
			if words := strings.Fields(line); len(words) > 1 && words[0] == "exits" {
				seen = append(seen, words[1])
			}
		}
	}
	for _, code := range []string{"0", "1", "3", "4"} { // 2, 130 and 143: tests in Go
		if !slices.Contains(seen, code) {
			t.Errorf("no script expects exit code %s", code)
		}
	}
}
