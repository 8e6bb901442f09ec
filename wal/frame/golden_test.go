package frame_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/seawall-wal/seawall/wal/frame"
)

var update = flag.Bool("update", false, "write the golden files of this format version again")

// golden is a piece of a segment, written out as annotated hex.
type golden struct {
	name  string
	off   int // of the bytes, in the segment
	bytes []byte
	text  string // the same, annotated
}

// add appends bytes that lie at the next offset, annotated with the rows.
func (g *golden) add(p []byte, rows []drawnRow) {
	for _, r := range rows {
		at := g.off + len(g.bytes) + r.offset
		g.text += fmt.Sprintf("%6d %5d  %-9s  % x\n", at, r.bytes, r.name, p[r.offset:r.end()])
	}
	g.bytes = append(g.bytes, p...)
}

// addFrame appends a frame: header, payload and padding.
func (g *golden) addFrame(p []byte, f *frame.Frame, rows []drawnRow) {
	g.text += fmt.Sprintf("# frame %+v\n", *f)
	g.add(p[:frame.HeaderBytes], rows)
	rest := p[frame.HeaderBytes:f.Size()]
	g.addRest(rest[:f.Length], "PAYLOAD")
	g.addRest(rest[f.Length:], "PADDING")
}

// addRest appends bytes that no drawing names the fields of.
func (g *golden) addRest(p []byte, name string) {
	var rows []drawnRow
	for at := 0; at < len(p); at += 24 {
		rows = append(rows, drawnRow{offset: at, bytes: min(24, len(p)-at), name: name})
	}
	g.add(p, rows)
}

// goldens returns what this version's golden files hold.
func goldens(t testing.TB) []golden {
	src := parseSource(t)
	block := func(name, decl string, off int, v any, p []byte) golden {
		g := golden{name: name, off: off, text: fmt.Sprintf("# %+v\n", v)}
		g.add(p, src.drawing(t, decl))
		return g
	}
	header := sampleHeader.Encode()
	stamp, _ := sampleStamp.Encode()
	slot := sampleSlot.Encode(sampleHeader.Seed())
	checkpoint := sampleCheckpoint.Encode()
	rows := src.drawing(t, "Frame")
	frames := func(name string, list ...goldenFrame) golden {
		seg := make([]byte, frame.MinSegmentBytes)
		at := sampleStart()
		g := golden{name: name, off: frame.DataOffset}
		g.text = fmt.Sprintf("# behind the stamp's link %#x, seed %#x\n", uint32(at.link), uint32(at.seed))
		for _, gf := range list {
			from := at.off
			at.put(seg, &gf.Frame, gf.payload)
			g.addFrame(seg[from:at.off], &gf.Frame, rows)
		}
		return g
	}
	record := func(payload string, distance uint32, first, last bool) goldenFrame {
		f := frame.Frame{Kind: frame.KindRecord, Distance: distance, First: first, Last: last}
		return goldenFrame{f, []byte(payload)}
	}
	var b [frame.MarkBytes]byte
	mark := goldenFrame{frame.Frame{Kind: frame.KindMark}, make([]byte, 64-frame.HeaderBytes)}
	copy(mark.payload, frame.PutMark(&b, sampleStamp.Watermark))
	return []golden{
		block("header", "Header", frame.HeaderOffset, sampleHeader, header[:]),
		block("stamp", "Stamp", frame.StampOffset, sampleStamp, stamp[:]),
		block("slot", "Slot", frame.SlotOffset, sampleSlot, slot[:]),
		block("checkpoint", "Checkpoint", frame.CheckpointOffset, sampleCheckpoint, checkpoint[:]),
		frames("record", record("seawall", 8, true, true)),
		frames("batch", record("one", 0, true, false), record("", 0x010203, false, false),
			record("the third", frame.MaxDistance, false, true)),
		frames("mark", mark, record("next", 0, true, true)),
	}
}

// goldenFrame is a frame to be put into a golden file.
type goldenFrame struct {
	frame.Frame
	payload []byte
}

// goldenName returns the file that holds a piece in a format version.
func goldenName(name string, version int) string {
	return filepath.Join("testdata", fmt.Sprintf("%s-v%d.golden", name, version))
}

func TestGoldenFiles(t *testing.T) {
	for _, g := range goldens(t) {
		t.Run(g.name, func(t *testing.T) {
			name := goldenName(g.name, frame.Version)
			if *update {
				if err := os.WriteFile(name, []byte(g.text), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(name)
			if err != nil {
				t.Fatalf("%v: run with -update where the format has a new version", err)
			}
			if diff := cmp.Diff(string(want), g.text); diff != "" {
				t.Errorf("%s: the format changed without a new version (-want +got):\n%s", name, diff)
			}
			if got := readGolden(t, name); !bytes.Equal(got, g.bytes) {
				t.Errorf("%s holds %x, the annotated bytes are %x", name, got, g.bytes)
			}
		})
	}
}

// readGolden returns the bytes that an annotated file holds.
func readGolden(t testing.TB, name string) []byte {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	row := regexp.MustCompile(`^ *\d+ +(\d+)  \S+ +([0-9a-f ]+)$`)
	var p []byte
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		m := row.FindStringSubmatch(strings.TrimSpace(line))
		if m == nil {
			t.Fatalf("%s: cannot read the line %q", name, line)
		}
		b, err := hex.DecodeString(strings.ReplaceAll(m[2], " ", ""))
		if err != nil || len(b) != atoi(t, m[1]) {
			t.Fatalf("%s: line %q: %d bytes, %v", name, line, len(b), err)
		}
		p = append(p, b...)
	}
	return p
}

// TestGoldenHeadersOpenOrAreRefused reads the headers of all versions that
// ever were.
func TestGoldenHeadersOpenOrAreRefused(t *testing.T) {
	names, err := filepath.Glob("testdata/header-v*.golden")
	if err != nil || len(names) != frame.Version {
		t.Fatalf("%d golden headers, %v, of %d versions", len(names), err, frame.Version)
	}
	for v := 1; v <= frame.Version; v++ {
		h, err := frame.DecodeHeader(readGolden(t, goldenName("header", v)))
		switch {
		case errors.Is(err, frame.ErrVersion) && v != frame.Version:
		case err != nil || h != sampleHeader:
			t.Errorf("version %d: %+v, %v", v, h, err)
		}
	}
}

// TestGoldenFilesDecode reads the files of this version as a log's reader does.
func TestGoldenFilesDecode(t *testing.T) {
	read := func(name string) []byte { return readGolden(t, goldenName(name, frame.Version)) }
	h, err := frame.DecodeHeader(read("header"))
	if err != nil || h != sampleHeader {
		t.Fatalf("header %+v, %v", h, err)
	}
	slot, err := frame.DecodeSlot(read("slot"), h.Seed())
	if err != nil || slot != sampleSlot {
		t.Errorf("slot %+v, %v", slot, err)
	}
	stamp, link, err := frame.DecodeStamp(read("stamp"), &h)
	if err != nil || stamp != sampleStamp {
		t.Fatalf("stamp %+v, %v", stamp, err)
	}
	for name, want := range map[string][]string{
		"record": {"seawall"},
		"batch":  {"one", "", "the third"},
		"mark":   {"next"},
	} {
		seg := append(make([]byte, frame.DataOffset), read(name)...)
		at := place{seed: h.Seed(), link: link, off: frame.DataOffset, lsn: stamp.First - 1, epoch: stamp.Epoch}
		var got []string
		for at.off < int64(len(seg)) {
			f, payload, rule := at.next(seg)
			if rule != 0 {
				t.Fatalf("%s: at %d rule %d fails", name, at.off, rule)
			}
			if f.Kind == frame.KindRecord {
				got = append(got, string(payload))
			} else if w := frame.Mark(payload); w != stamp.Watermark {
				t.Errorf("%s: watermark %d, want %d", name, w, stamp.Watermark)
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: records (-want +got):\n%s", name, diff)
		}
	}
}
