// Command summary reads what `go test -json` prints. It shows the packages as
// they end, and of a run that failed what a reader needs first: which tests, what
// they say, and the command that runs just these again.
//
//	go test -json ./... | go run ./.ci/summary/main.go -o FILE -again 'go test' [-may-skip TestX,...]
//
// FILE gets the ten lines, only where something failed. A test that was skipped
// counts as failed unless it is named. It exits with 1 if anything failed.
package main

import (
	"bufio"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strings"
)

func main() {
	file := flag.String("o", "", "where the summary of a failed run goes")
	again := flag.String("again", "go test", "the command that runs tests again")
	maySkip := flag.String("may-skip", "", "tests that may be skipped, with commas between")
	flag.Parse()
	r := &run{out: os.Stdout, maySkip: strings.Split(*maySkip, ","), tests: map[string]*test{}}
	if err := r.read(os.Stdin); err != nil {
		fmt.Fprintln(os.Stderr, "summary:", err)
		os.Exit(1)
	}
	failed := r.failed()
	r.slowest(8)
	if len(failed) == 0 {
		return
	}
	text := strings.Join(r.lines(failed, *again), "\n") + "\n"
	if *file == "" {
		fmt.Print(text)
	} else if err := os.WriteFile(*file, []byte(text), 0o666); err != nil {
		fmt.Fprintln(os.Stderr, "summary:", err)
	}
	os.Exit(1)
}

// event is a line of `go test -json`; see `go doc test2json`.
type event struct {
	Action, Package, ImportPath, Test, Output string
	Elapsed                                   float64
}

// test is what is known of a test, or of a package where it has no name.
type test struct {
	pkg, name string
	output    []string
	result    string
	seconds   float64
	printed   bool
}

// run is a run of go test.
type run struct {
	out     io.Writer
	maySkip []string
	tests   map[string]*test
	order   []*test
}

// at returns the test with that name, or the package's entry.
func (r *run) at(pkg, name string) *test {
	key := pkg + " " + name
	t := r.tests[key]
	if t == nil {
		t = &test{pkg: pkg, name: name}
		r.tests[key] = t
		r.order = append(r.order, t)
	}
	return t
}

// read takes all events.
func (r *run) read(in io.Reader) error {
	s := bufio.NewScanner(in)
	s.Buffer(nil, 64<<20)
	for s.Scan() {
		var e event
		if json.Unmarshal(s.Bytes(), &e) != nil {
			fmt.Fprintln(r.out, s.Text()) // of make, or of a program that was not go test
			continue
		}
		if e.Package == "" {
			e.Package, _, _ = strings.Cut(e.ImportPath, " ")
		}
		r.take(&e)
	}
	return s.Err()
}

// maxOutput bounds the lines that are kept and shown of each test.
const maxOutput = 400

// take takes an event.
func (r *run) take(e *event) {
	t := r.at(e.Package, e.Test)
	switch e.Action {
	case "output", "build-output":
		if noise(e.Output) {
			return
		}
		if len(t.output) == maxOutput {
			t.output = slices.Delete(t.output, maxOutput/2, maxOutput/2+1) // the beginning and the end tell most
		}
		t.output = append(t.output, strings.TrimRight(e.Output, "\n"))
	case "pass", "fail", "skip", "build-fail":
		t.result, t.seconds = strings.TrimPrefix(e.Action, "build-"), e.Elapsed
		if e.Test == "" && e.Action != "build-fail" {
			r.end(t)
		}
	}
}

// noise reports whether a line of output only says that a test began or ended well.
func noise(line string) bool {
	line = strings.TrimSpace(line)
	for _, p := range []string{"=== ", "--- PASS", "PASS", "FAIL\t", "ok  \t", "?   \t"} {
		if strings.HasPrefix(line, p) {
			return true
		}
	}
	return line == "" || line == "FAIL"
}

// end shows a package that has ended, and all that its failed tests said.
func (r *run) end(p *test) {
	word := map[string]string{"pass": "ok", "fail": "FAIL", "skip": "-"}[p.result]
	fmt.Fprintf(r.out, "%-4s %-60s %7.1f s\n", word, p.pkg, p.seconds)
	for _, t := range r.order {
		if t.pkg == p.pkg && !t.printed && r.bad(t) {
			t.printed = true
			for _, line := range t.output {
				fmt.Fprintln(r.out, "    "+line)
			}
		}
	}
}

// bad reports whether it failed, or was skipped and should have run.
func (r *run) bad(t *test) bool {
	return t.result == "fail" ||
		t.name != "" && t.result == "skip" && !slices.Contains(r.maySkip, t.name) ||
		t.name != "" && t.result == "" // its process ended with it
}

// failed returns the tests that are bad, without those that are so only because
// of one below them, and packages where no test tells why they failed.
func (r *run) failed() []*test {
	var all []*test
	for _, t := range r.order {
		if !r.bad(t) {
			continue
		}
		below := slices.ContainsFunc(r.order, func(o *test) bool {
			return o.pkg == t.pkg && o != t && r.bad(o) && (t.name == "" || strings.HasPrefix(o.name, t.name+"/"))
		})
		if !below {
			all = append(all, t)
		}
	}
	return all
}

// slowest shows where the time went.
func (r *run) slowest(n int) {
	top := slices.DeleteFunc(slices.Clone(r.order), func(t *test) bool { return t.name == "" || strings.Contains(t.name, "/") })
	slices.SortStableFunc(top, func(a, b *test) int { return int(1000 * (b.seconds - a.seconds)) })
	for i, t := range top[:min(n, len(top))] {
		lead := "         "
		if i == 0 {
			lead = "slowest: "
		}
		fmt.Fprintf(r.out, "%s%5.1f s %s %s\n", lead, t.seconds, short(t.pkg), t.name)
	}
}

// short returns a package's path within the module.
func short(pkg string) string {
	if _, after, ok := strings.Cut(pkg, "/seawall/"); ok {
		return after
	}
	return pkg
}

var (
	// message is a line of t.Error and its like.
	message = regexp.MustCompile(`^\s*\S+\.go:\d+: `)
	seed    = regexp.MustCompile(`\bSEAWALL_SEED=\d+`)
)

// says returns the first lines of what a test says of its failure.
func (t *test) says(n int) []string {
	var some []string
	for i := len(t.output) - 1; i >= 0; i-- { // a script says it behind all that it printed
		if line := strings.TrimSpace(t.output[i]); strings.HasPrefix(line, "FAIL: testdata/") {
			return []string{clip(line)}
		}
	}
	for i, line := range t.output {
		if message.MatchString(line) && !seed.MatchString(line) || strings.HasPrefix(line, "panic: ") || t.name == "" {
			for _, more := range t.output[i:min(i+n, len(t.output))] {
				some = append(some, clip(strings.TrimSpace(more)))
			}
			break
		}
	}
	return some
}

// clip bounds a line.
func clip(s string) string {
	if r := []rune(s); len(r) > 220 {
		return string(r[:220]) + "…"
	}
	return s
}

// maxShown is how many failed tests are told of.
const maxShown = 4

// lines tells of failed tests in ten lines or less.
func (r *run) lines(failed []*test, again string) []string {
	var out []string
	each := max(1, min(3, (10-2-maxShown)/min(maxShown, len(failed))))
	for i, t := range failed {
		if i == maxShown {
			out = append(out, fmt.Sprintf("  and %d more", len(failed)-i))
			break
		}
		what := strings.TrimSpace(short(t.pkg) + " " + t.name)
		if t.result == "skip" {
			what += " was skipped, and should have run"
		}
		out = append(out, "  "+what)
		if t.result == "" { // what its process said last
			t = &test{output: r.at(t.pkg, "").output}
		}
		for _, s := range t.says(each) {
			out = append(out, "      "+s)
		}
	}
	return append(out, "  again: "+command(failed, again))
}

// command runs the tests again, with the seed that one of them named.
func command(failed []*test, again string) string {
	var names, pkgs []string
	env, whole := "", false
	for _, t := range failed {
		top, _, _ := strings.Cut(t.name, "/")
		whole = whole || top == ""
		names, pkgs = append(names, top), append(pkgs, "./"+short(t.pkg))
		for _, line := range t.output {
			if s := seed.FindString(line); s != "" && env == "" {
				env = s + " "
			}
		}
	}
	slices.Sort(names)
	slices.Sort(pkgs)
	names, pkgs = slices.Compact(names), slices.Compact(pkgs)
	only := " -run '^(" + strings.Join(names, "|") + ")$'"
	if len(names) == 1 {
		only = " -run '^" + names[0] + "$'"
	}
	if whole {
		only = ""
	}
	return env + again + only + " " + strings.Join(pkgs, " ")
}
