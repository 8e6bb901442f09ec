package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// readmeStep is one command of the README and the output that it shows.
type readmeStep struct {
	line    int
	command string
	want    []string
}

// readmeSteps reads the README's console blocks: lines that begin with `$ `
// are commands, the lines behind one are what it prints. Blocks whose first line
// names a file, behind the language, are written to it below dir.
func readmeSteps(t *testing.T, dir string) []readmeStep {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	var steps []readmeStep
	inside, file, content := false, "", ""
	for i, line := range strings.Split(string(text), "\n") {
		switch {
		case strings.HasPrefix(line, "```"):
			if file != "" {
				if err := os.WriteFile(filepath.Join(dir, file), []byte(content), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			inside, content = line == "```console", ""
			_, file, _ = strings.Cut(line, " ")
		case file != "":
			content += line + "\n"
		case !inside:
		case strings.HasPrefix(line, "$ "):
			steps = append(steps, readmeStep{line: i + 1, command: line[2:]})
		case len(steps) > 0:
			last := &steps[len(steps)-1]
			last.want = append(last.want, line)
		}
	}
	if len(steps) < 8 {
		t.Fatalf("found %d commands in the README: the blocks have another form now", len(steps))
	}
	return steps
}

// readmePattern turns shown output into a pattern: an ellipsis stands for any
// text, on a line of its own for any number of lines.
func readmePattern(want []string) *regexp.Regexp {
	var b strings.Builder
	b.WriteString(`\A`)
	for _, line := range want {
		if line == "…" {
			b.WriteString(`(?:.*\n)*`)
			continue
		}
		b.WriteString(strings.ReplaceAll(regexp.QuoteMeta(line), "…", ".*") + `\n`)
	}
	b.WriteString(`\z`)
	return regexp.MustCompile(b.String())
}

// TestReadmeCommands runs the commands of the README's first hour, one after
// the other in one directory, and compares what they print.
func TestReadmeCommands(t *testing.T) {
	bin := t.TempDir()
	if out, err := exec.Command("go", "build", "-o", filepath.Join(bin, "seawall"), ".").CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	dir, scratch := t.TempDir(), t.TempDir()
	for _, s := range readmeSteps(t, dir) {
		if _, err := exec.LookPath("python3"); err != nil && strings.Contains(s.command, "python3") {
			if os.Getenv("SEAWALL_CI") == "1" {
				t.Errorf("README.md:%d: %v, and SEAWALL_CI is set", s.line, err)
			}
			continue
		}
		command, isRoot := strings.CutPrefix(s.command, "sudo ")
		if isRoot && os.Geteuid() != 0 {
			if os.Getenv("SEAWALL_CI") == "1" {
				t.Errorf("README.md:%d: it needs root, and SEAWALL_CI is set", s.line)
			}
			continue
		}
		cmd := exec.Command("sh", "-c", command)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "PATH="+bin+":"+os.Getenv("PATH"), "TMPDIR="+scratch)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Errorf("README.md:%d: %s: %v\n%s", s.line, s.command, err, out)
		}
		if p := readmePattern(s.want); !p.Match(out) {
			t.Errorf("README.md:%d: %s\nprints\n%s\nand the README says\n%s", s.line, s.command, out, strings.Join(s.want, "\n"))
		}
	}
}
