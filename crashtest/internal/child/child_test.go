//go:build linux

package child_test

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/seawall-wal/seawall/crashtest/internal/child"
)

// TestSelf starts this binary again, which is told what to say, and says too much.
func TestSelf(t *testing.T) {
	const variable = "SEAWALL_CHILD_TEST"
	if todo := os.Getenv(variable); todo != "" {
		fmt.Println(todo, strings.Repeat("x", 100_000))
		os.Exit(3)
	}
	cmd, err := child.Self(t.Context(), variable, []int{1, 2}, "-test.run=^TestSelf$")
	if err != nil {
		t.Fatal(err)
	}
	var said child.Output
	cmd.Stdout, cmd.Stderr = &said, &said
	if err = cmd.Run(); err == nil || cmd.ProcessState.ExitCode() != 3 {
		t.Errorf("%v", err)
	}
	if text := said.Text(); !strings.HasPrefix(text, "[1,2] xxx") || len(text) != 4096 {
		t.Errorf("%d bytes: %.20q", len(text), text)
	}
}

// TestTail keeps the end, however it is written.
func TestTail(t *testing.T) {
	for _, part := range []int{1, 100, 4096, 100_000} {
		text := strings.Repeat("x", 99_990) + "last words\n"
		var tail child.Tail
		for p := text; p != ""; p = p[min(part, len(p)):] {
			if n, err := tail.Write([]byte(p[:min(part, len(p))])); n != min(part, len(p)) || err != nil {
				t.Fatal(n, err)
			}
		}
		if got := tail.Text(); !strings.HasSuffix(text, got+"\n") || len(got) != 4095 {
			t.Errorf("in parts of %d: %d bytes, %.20q", part, len(got), got)
		}
	}
}
