//go:build linux

package main_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	seawall "github.com/seawall-wal/seawall/cmd/seawall"
)

// atTerminal runs the command at a terminal where a person answers a question,
// and returns the exit code and what was on the screen.
func atTerminal(t *testing.T, answer string, args ...string) (code int, text string) {
	t.Helper()
	screen, terminal := openTerminal(t)
	_, out, _ := files(t, "")
	if _, err := screen.WriteString(answer); err != nil {
		t.Fatal(err)
	}
	code = seawall.Run(terminal, out, terminal, args...)
	const end = "\r\nend of the test\r\n"
	if _, err := terminal.WriteString(strings.ReplaceAll(end, "\r", "")); err != nil {
		t.Fatal(err)
	}
	for b := make([]byte, 4096); !strings.HasSuffix(text, end); {
		n, err := screen.Read(b)
		if err != nil {
			t.Fatalf("%v behind %q", err, text)
		}
		text += string(b[:n])
	}
	return code, text
}

// TestCutIsConfirmed removes records at a terminal only when a person, who was
// told which, says yes. An end of the input is no yes.
func TestCutIsConfirmed(t *testing.T) {
	for _, c := range []struct {
		answer string
		flags  []string
		asks   bool
		code   int
	}{
		{"y\n", nil, true, 0},
		{"YES\n", nil, true, 0},
		{"n\n", nil, true, 3},
		{"\n", nil, true, 3},
		{"yesterday\n", nil, true, 3},
		{"\x04", nil, true, 3},
		{"", []string{"--yes"}, false, 0},
		{"", []string{"--dry-run"}, false, 0},
	} {
		dir := filepath.Join(t.TempDir(), "log")
		in, out, stderr := files(t, string(numbers(1, 20)))
		if code := seawall.Run(in, out, stderr, "append", dir, "--segment-size", "64KiB"); code != 0 {
			t.Fatal(content(t, stderr))
		}
		code, text := atTerminal(t, c.answer, append([]string{"truncate", dir, "--back", "15"}, c.flags...)...)
		asked := strings.Contains(text, "this removes 5 records, LSN 16 to 20 for good; what stays: 15, LSN 1 to 15") &&
			strings.Contains(text, "go on? [y/N] ")
		if code != c.code || asked != c.asks {
			t.Errorf("%q: exit code %d, asked %v: %s", c.answer, code, asked, text)
		}
		want := 20
		if code == 0 && !strings.Contains(fmt.Sprint(c.flags), "dry-run") {
			want = 15
		}
		if left := recordsIn(t, dir); left != want {
			t.Errorf("%q %q: %d records are left, want %d", c.answer, c.flags, left, want)
		}
	}
}

// TestForceIsConfirmed gives up acknowledged records at a terminal only when a
// person says yes.
func TestForceIsConfirmed(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "log")
	in, out, stderr := files(t, string(numbers(1, 20)))
	if code := seawall.Run(in, out, stderr, "append", dir, "--segment-size", "64KiB"); code != 0 {
		t.Fatal(content(t, stderr))
	}
	file := filepath.Join(dir, "0000000000000001.wal")
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	at := strings.LastIndex(string(data), "15\x00")
	data[at] ^= 1
	if err = os.WriteFile(file, data, 0o600); err != nil {
		t.Fatal(err)
	}
	code, text := atTerminal(t, "no\n", "repair", dir, "--force")
	if code != 3 || !strings.Contains(text, "cuts the log behind LSN 14") || !strings.Contains(text, "6 records, LSN 15 to 20: acknowledged records") {
		t.Errorf("exit code %d: %s", code, text)
	}
	if now, rerr := os.ReadFile(file); rerr != nil || string(now) != string(data) {
		t.Errorf("the log was changed: %v", rerr)
	}
	if code, text = atTerminal(t, "y\n", "repair", dir, "--force"); code != 0 || recordsIn(t, dir) != 14 {
		t.Errorf("exit code %d: %s", code, text)
	}
}

// recordsIn returns how many records a dump of the log gives.
func recordsIn(t *testing.T, dir string) int {
	t.Helper()
	in, out, stderr := files(t, "")
	seawall.Run(in, out, stderr, "dump", dir)
	return strings.Count(content(t, out), "\n")
}
