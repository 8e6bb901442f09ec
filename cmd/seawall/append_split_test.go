//go:build linux

package main_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	seawall "github.com/seawall-wal/seawall/cmd/seawall"
)

// splitAll splits an input that comes in pieces of the given sizes, the last
// size again and again, and returns the records and the error's words.
func splitAll(name string, limit int64, input []byte, sizes ...int) (records []string, failure string) {
	s := seawall.NewSplitter(name, limit)
	emit := func(p []byte) error {
		records = append(records, string(p))
		return nil
	}
	var err error
	for i := 0; len(input) > 0 && err == nil; i++ {
		n := max(1, min(len(input), sizes[min(i, len(sizes)-1)]))
		err = s.Feed(bytes.Clone(input[:n]), emit)
		input = input[n:]
	}
	if err == nil {
		err = s.End(emit)
	}
	if err != nil {
		failure = err.Error()
	}
	return records, failure
}

func TestSplit(t *testing.T) {
	const tail = "; nothing of it was appended; a larger --segment-size raises the limit"
	for _, c := range []struct {
		split, in string
		limit     int64
		want      []string
		failure   string
	}{
		{split: "lines", limit: 9},
		{split: "lines", in: "\n", limit: 9, want: []string{""}},
		{split: "lines", in: "a\r\n\n\x00\nlast", limit: 9, want: []string{"a\r", "", "\x00", "last"}},
		{split: "lines", in: "full\nfull", limit: 4, want: []string{"full", "full"}},
		{split: "lines", in: "a\nlarge\nb", limit: 4, want: []string{"a"}, failure: "line 2 has 5 bytes, the limit is 4" + tail},
		{split: "lines", in: "a\nlarger than", limit: 4, want: []string{"a"}, failure: "line 2 has 11 bytes, the limit is 4" + tail},
		{split: "nul", in: "a\nb\x00\x00c", limit: 9, want: []string{"a\nb", "", "c"}},
		{split: "nul", in: "a\x00large", limit: 4, want: []string{"a"}, failure: "record 2 has 5 bytes, the limit is 4" + tail},
		{split: "len32", limit: 9},
		{split: "len32", in: "\x00\x00\x00\x00", limit: 9, want: []string{""}},
		{split: "len32", in: "\x00\x00\x00\x02ab\x00\x00\x00\x00\x00\x00\x00\x01c", limit: 9, want: []string{"ab", "", "c"}},
		{split: "len32", in: "\x00\x00\x00\x01a\x00", limit: 9, want: []string{"a"}, failure: "the input ends within record 2, at offset 5 of the input: 1 of the 4 bytes of its length are there"},
		{split: "len32", in: "\x00\x00\x00\x01a\x00\x00\x00\x03b", limit: 9, want: []string{"a"}, failure: "the input ends within record 2, at offset 5 of the input: 1 of its 3 bytes are there"},
		{split: "len32", in: "\x00\x00\x00\x01", limit: 9, failure: "the input ends within record 1, at offset 0 of the input: 0 of its 1 bytes are there"},
		{split: "len32", in: "\x00\x00\x00\x00\x00\x00\x00\x05", limit: 4, want: []string{""}, failure: "record 2, at offset 4 of the input, has 5 bytes, the limit is 4" + tail},
		{split: "whole", limit: 9, want: []string{""}},
		{split: "whole", in: "a\nb", limit: 3, want: []string{"a\nb"}},
		{split: "whole", in: "four", limit: 3, failure: "FILE has 4 bytes, the limit is 3" + tail},
	} {
		for _, size := range []int{1, 2, 3, 5, 100} {
			got, failure := splitAll(c.split, c.limit, []byte(c.in), size)
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("%s of %q by %d (-want +got):\n%s", c.split, c.in, size, diff)
			}
			if failure != c.failure {
				t.Errorf("%s of %q by %d: error %q, want %q", c.split, c.in, size, failure, c.failure)
			}
		}
	}
}

// TestSplitAtOnce: a record is handed on in the call that brings its end.
func TestSplitAtOnce(t *testing.T) {
	for split, in := range map[string]string{"lines": "a\n", "nul": "a\x00", "len32": "\x00\x00\x00\x01a"} {
		s := seawall.NewSplitter(split, 9)
		var n int
		emit := func([]byte) error { n++; return nil }
		for i := range in {
			if n != 0 || s.Unfinished() != int64(i) {
				t.Errorf("%s: %d records and %d bytes behind %d bytes", split, n, s.Unfinished(), i)
			}
			if err := s.Feed([]byte(in[i:i+1]), emit); err != nil {
				t.Fatal(err)
			}
		}
		if n != 1 || s.Unfinished() != 0 {
			t.Errorf("%s: %d records and %d bytes at the end", split, n, s.Unfinished())
		}
	}
}

// TestSplitStops: a record that the log does not take ends the splitting.
func TestSplitStops(t *testing.T) {
	broken := errors.New("broken")
	for split, in := range map[string]string{
		"lines": "a\nb\n", "nul": "a\x00b\x00", "len32": "\x00\x00\x00\x01a\x00\x00\x00\x01b",
	} {
		s := seawall.NewSplitter(split, 9)
		n := 0
		if err := s.Feed([]byte(in), func([]byte) error { n++; return broken }); !errors.Is(err, broken) || n != 1 {
			t.Errorf("%s: %v after %d records", split, err, n)
		}
	}
}

// TestSplitKeepsNothing: what is beyond the limit is counted and not kept.
func TestSplitKeepsNothing(t *testing.T) {
	p := bytes.Repeat([]byte("x"), 1<<16)
	for _, split := range []string{"lines", "nul", "whole"} {
		s := seawall.NewSplitter(split, 1<<17)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		for range 1000 {
			if err := s.Feed(p, nil); err != nil {
				t.Fatal(err)
			}
		}
		runtime.ReadMemStats(&after)
		if n := after.TotalAlloc - before.TotalAlloc; n > 4<<20 || s.Unfinished() != 1000<<16 {
			t.Errorf("%s: %d bytes allocated for %d that are counted", split, n, s.Unfinished())
		}
	}
}

// model splits an input that is there as a whole, in the plainest way.
func model(split string, limit int64, in []byte) (records []string, ok bool) {
	if split == "len32" {
		for len(in) > 0 {
			if len(in) < 4 {
				return records, false
			}
			n := int64(binary.BigEndian.Uint32(in))
			if n > limit || n > int64(len(in)-4) {
				return records, false
			}
			records, in = append(records, string(in[4:4+n])), in[4+n:]
		}
		return records, true
	}
	delim := map[string]string{"lines": "\n", "nul": "\x00"}[split]
	for _, r := range strings.SplitAfter(string(in), delim) {
		if r == "" {
			continue
		}
		r = strings.TrimSuffix(r, delim)
		if int64(len(r)) > limit {
			return records, false
		}
		records = append(records, r)
	}
	return records, true
}

// FuzzSplit: however the input comes, the records are those of the model.
func FuzzSplit(f *testing.F) {
	f.Add(uint8(0), uint64(1), []byte("a\n\nb\r\nlonger line\nlast"))
	f.Add(uint8(1), uint64(2), []byte("a\x00\x00b\nc"))
	f.Add(uint8(2), uint64(3), []byte("\x00\x00\x00\x01a\x00\x00\x00\x00\x00\x00\x00\x03abc"))
	f.Add(uint8(2), uint64(4), []byte("\x00\x00\x00\x01a\xff\xff\xff\xff"))
	f.Fuzz(func(t *testing.T, kind uint8, seed uint64, in []byte) {
		split := []string{"lines", "nul", "len32"}[kind%3]
		rng := rand.New(rand.NewPCG(seed, 0))
		limit := 1 + rng.Int64N(64)
		sizes := make([]int, 1+rng.IntN(20))
		for i := range sizes {
			sizes[i] = 1 + rng.IntN(12)
		}
		want, ok := model(split, limit, in)
		got, failure := splitAll(split, limit, in, sizes...)
		if diff := cmp.Diff(want, got); diff != "" || ok != (failure == "") {
			t.Errorf("%s, limit %d, pieces %v, of %q: %q (-want +got):\n%s", split, limit, sizes, in, failure, diff)
		}
	})
}

// TestSplitRandom runs FuzzSplit's comparison on inputs that hold many ends.
func TestSplitRandom(t *testing.T) {
	const seed = 7
	rng := rand.New(rand.NewPCG(seed, 0))
	for i := range 2000 {
		in := make([]byte, rng.IntN(200))
		for j := range in {
			in[j] = "\x00\x00\x00\x01\x02\n\nab"[rng.IntN(9)]
		}
		for _, split := range []string{"lines", "nul", "len32"} {
			limit := 1 + rng.Int64N(20)
			size := 1 + rng.IntN(20)
			want, ok := model(split, limit, in)
			got, failure := splitAll(split, limit, in, size)
			if diff := cmp.Diff(want, got); diff != "" || ok != (failure == "") {
				t.Fatalf("seed %d, %d: %s, limit %d, pieces of %d, of %q: %q (-want +got):\n%s",
					seed, i, split, limit, size, in, failure, diff)
			}
		}
	}
}

func TestParseSize(t *testing.T) {
	for in, want := range map[string]int64{
		"1": 1, "4096": 4096, "64KiB": 64 << 10, "64kib": 64 << 10, "64K": 64 << 10, "1MiB": 1 << 20,
		"2 GiB": 2 << 30, "1MB": 1e6, "3kB": 3000, "1gb": 1e9, "7b": 7, " 8m ": 8 << 20,
		"": 0, "0": 0, "-1": 0, "x": 0, "1.5MiB": 0, "MiB": 0, "1TiB": 0, "9999999999GiB": 0, "0x10": 0,
	} {
		got, err := seawall.ParseSize(in)
		if got != want || (err == nil) != (want != 0) {
			t.Errorf("%q: %d, %v; want %d", in, got, err, want)
		}
	}
}

func TestTexts(t *testing.T) {
	for _, c := range []struct{ got, want string }{
		{seawall.BytesText(0), "0 B"},
		{seawall.BytesText(1023), "1023 B"},
		{seawall.BytesText(1024), "1 KiB"},
		{seawall.BytesText(1536), "1.5 KiB"},
		{seawall.BytesText(64 << 20), "64 MiB"},
		{seawall.BytesText(1<<30 - 1), "1 GiB"},
		{seawall.BytesText(5 << 40), "5 TiB"},
		{seawall.Count(0), "0"},
		{seawall.Count(999), "999"},
		{seawall.Count(1000), "1,000"},
		{seawall.Count(-1234567), "-1,234,567"},
		{seawall.Seconds(0.0123456), "12.3ms"},
		{seawall.Seconds(75.25), "1m15.3s"},
		{seawall.Seconds(0), "0s"},
		{seawall.ShellWord("/a/b-c_1.wal"), "/a/b-c_1.wal"},
		{seawall.ShellWord("it's"), `'it'\''s'`},
		{seawall.ShellWord("a b"), "'a b'"},
		{seawall.ShellWord("-x"), "./-x"},
		{seawall.ShellWord("$(x)"), "'$(x)'"},
		{strings.Join(seawall.BreakLines("aa bb cc dd", 5), "|"), "aa bb|cc dd"},
		{strings.Join(seawall.BreakLines("longer a", 3), "|"), "longer|a"},
		{fmt.Sprint(len(seawall.BreakLines("", 3))), "1"},
	} {
		if c.got != c.want {
			t.Errorf("%q, want %q", c.got, c.want)
		}
	}
}
