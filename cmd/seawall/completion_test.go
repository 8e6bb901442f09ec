//go:build linux

package main_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// completions returns what bash offers for a command line whose last word is
// the one that is being typed.
func completions(t *testing.T, words ...string) string {
	t.Helper()
	script, _ := output(t, "completion", "bash")
	const probe = `
COMP_WORDS=("$@")
COMP_CWORD=$(($# - 1))
_seawall
printf '%s\n' "${COMPREPLY[@]}"
`
	cmd := exec.Command("bash", append([]string{"-c", script + probe, "bash"}, words...)...)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(strings.Fields(string(out)), " ")
}

func TestCompletionBash(t *testing.T) {
	if _, err := exec.LookPath("bash"); err != nil {
		if os.Getenv("SEAWALL_CI") == "1" {
			t.Fatal("bash is not here")
		}
		t.Skip("bash is not here")
	}
	for _, c := range []struct{ line, want string }{
		{"seawall ", "append verify repair truncate dump tail inspect probe bench experiment crash completion man"},
		{"seawall -", "--help --version"},
		{"seawall a", "append"},
		{"seawall append --s", "--split --sync --segment-size"},
		{"seawall append --sync ", "each manual 100ms"},
		{"seawall append --sync e", "each"},
		{"seawall append --sync = e", "each"}, // as bash takes --sync=e apart
		{"seawall append --sync =", "each manual 100ms"},
		{"seawall append --sync=m", "--sync=manual"},
		{"seawall dump --", "--from --to --format --split --match --extract --help"},
		{"seawall dump log --", "--from --to --format --split --match --extract --help"},
		{"seawall dump -- --f", ""},
		{"seawall --json ver", "verify"},
		{"seawall crash --states 5 k", "kill"},
		{"seawall nothing --", ""},
		{"seawall append --sync each --split ", "lines nul len32"},
		{"seawall append log --ba", "--batch"},
		{"seawall dump --format ", "raw hex json"},
		{"seawall tail --format ", "raw hex json"},
		{"seawall tail log --d", "--durable"},
		{"seawall completion ", "bash zsh fish"},
		{"seawall experiment ", "list run"},
		{"seawall experiment r", "run"},
		{"seawall experiment run ", "sigkill sigbus folio torn lazy warm hints thrash evict fsyncgate stale-cache"},
		{"seawall experiment run lazy w", "warm"},
		{"seawall experiment run --a", "--all"},
		{"seawall experiment run --dir ", ""},
		{"seawall crash ", "kill model truncate power fault replay selftest doctor cleanup"},
		{"seawall crash kill --bu", "--budget"},
		{"seawall append ", ""}, // a directory
		{"seawall dump --from ", ""},
	} {
		if diff := cmp.Diff(c.want, completions(t, strings.Split(c.line, " ")...)); diff != "" {
			t.Errorf("%q (-want +got):\n%s", c.line, diff)
		}
	}
}

// TestCompletionEvaluatesNothing: words that were typed and not yet run are not
// run by pressing TAB.
func TestCompletionEvaluatesNothing(t *testing.T) {
	trap := filepath.Join(t.TempDir(), "trap")
	completions(t, "seawall", "append", "$(touch "+trap+")", "`touch "+trap+"`", "--s$(touch "+trap+")")
	if _, err := os.Stat(trap); err == nil {
		t.Error("a word of the command line was evaluated")
	}
}

// TestCompletionRunsNothing asks for completions where a command that was run
// would leave files, and gives the flag of an older way to ask to each command.
func TestCompletionRunsNothing(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	for _, words := range [][]string{
		{"append", "--"}, {"append", "log", ""}, {"append", "log", "--sync", ""}, {"crash", "kill", "--"}, {"repair", "log", "--"}, {},
	} {
		output(t, append([]string{"__complete"}, words...)...)
	}
	const old = "--generate-bash-completion"
	for _, words := range [][]string{{old}, {"append", old}, {"append", "log", old}, {"crash", "model", "--states", "5", old}} {
		if _, code := output(t, words...); code != 3 {
			t.Errorf("seawall %q: exit code %d, want 3", words, code)
		}
	}
	wantNoFiles(t, dir)
}

// wantNoFiles fails where a directory holds a file.
func wantNoFiles(t *testing.T, dir string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) > 0 {
		t.Errorf("files were made: %v, %v", entries, err)
	}
}
