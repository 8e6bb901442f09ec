package frame_test

import (
	"bytes"
	"encoding/binary"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/seawall-wal/seawall/wal/frame"
)

// drawn is a type whose encoding its doc comment draws.
type drawn struct {
	name   string
	fields map[string]string // the struct's fields by the drawn ones, where they carry the same value
	sealed string            // the drawn field that is a checksum over the others
	seed   []byte            // what the checksum covers before the encoding's own bytes
	value  reflect.Value     // of the struct to encode
	encode func() []byte     // encodes value
}

// drawnTypes returns the drawn types, their values zero.
func drawnTypes() []drawn {
	var (
		h   frame.Header
		st  frame.Stamp
		sl  frame.Slot
		cp  frame.Checkpoint
		f   frame.Frame
		buf frame.Buffer
		le  = binary.LittleEndian
	)
	const ordinal, salt, prev, off = 0x0102, 0x0304, 0x05060708, 0x6228
	seed := frame.NewSeed(sampleUUID, ordinal, salt)
	covered := le.AppendUint64(le.AppendUint64(slices.Clone(sampleUUID[:]), ordinal), salt)
	return []drawn{
		{
			name: "Header", sealed: "crc", value: reflect.ValueOf(&h).Elem(),
			fields: map[string]string{
				"features": "Features", "uuid": "UUID", "ordinal": "Ordinal", "bytes": "SegmentBytes",
				"salt": "Salt", "epoch": "Epoch", "fill": "FillBytes",
			},
			encode: func() []byte { b := h.Encode(); return b[:] },
		},
		{
			name: "Stamp", sealed: "crc", value: reflect.ValueOf(&st).Elem(),
			fields: map[string]string{
				"uuid": "UUID", "ordinal": "Ordinal", "salt": "Salt", "first": "First", "previous": "Previous",
				"epoch": "Epoch", "cut": "Cut", "front": "Front", "watermark": "Watermark", "flags": "Flags",
			},
			encode: func() []byte { b, _ := st.Encode(); return b[:] },
		},
		{
			name: "Slot", sealed: "crc", value: reflect.ValueOf(&sl).Elem(), seed: covered,
			fields: map[string]string{
				"counter": "Counter", "epoch": "Epoch", "link": "Link", "cut": "Cut", "front": "Front",
				"watermark": "Watermark", "tail": "Tail",
			},
			encode: func() []byte { b := sl.Encode(seed); return b[:] },
		},
		{
			name: "Checkpoint", sealed: "crc", value: reflect.ValueOf(&cp).Elem(),
			fields: map[string]string{
				"counter": "Counter", "uuid": "UUID", "ordinal": "Ordinal", "watermark": "Watermark",
				"front": "Front", "epoch": "Epoch",
			},
			encode: func() []byte { b := cp.Encode(); return b[:] },
		},
		{
			name: "Frame", sealed: "link", value: reflect.ValueOf(&f).Elem(),
			// Previous link, offset and the LSN's high half, as Frame's comment lists them.
			seed: le.AppendUint32(le.AppendUint32(le.AppendUint32(slices.Clone(covered), prev), off), 0),
			fields: map[string]string{
				"length": "Length", "payload": "PayloadCRC", "lsn": "LSN", "epoch": "Epoch", "distance": "Distance",
			},
			encode: func() []byte { b, _ := buf.Encode(&f, seed, prev, off); return slices.Clone(b) },
		},
	}
}

// fill sets an integer, an array of bytes or a struct of integers to a value
// whose first n bytes, as drawn, are all different, and returns those bytes.
func fill(t *testing.T, v reflect.Value, n int, text string) []byte {
	t.Helper()
	p := make([]byte, n)
	for i := range p {
		p[i] = byte(0xa1 + i)
	}
	word := func(v reflect.Value, p []byte) {
		var w [8]byte
		copy(w[:], p)
		x := binary.LittleEndian.Uint64(w[:])
		if v.CanInt() {
			v.SetInt(int64(x))
		} else {
			v.SetUint(x)
		}
	}
	switch v.Kind() {
	case reflect.Array:
		if reflect.Copy(v, reflect.ValueOf(p)) != n || v.Len() != n {
			t.Errorf("%d bytes are drawn, the field has %d", n, v.Len())
		}
	case reflect.Struct: // its fields are listed behind the colon
		_, list, _ := strings.Cut(text, ": ")
		names := strings.Split(list, ", ")
		if len(names) != v.NumField() || n != 8*len(names) {
			t.Fatalf("%d bytes drawn as %q, the field is %s", n, list, v.Type())
		}
		for i, name := range names {
			field := v.FieldByNameFunc(func(s string) bool { return strings.EqualFold(s, name) })
			if !field.IsValid() {
				t.Fatalf("%q is drawn, but no field of %s", name, v.Type())
			}
			word(field, p[8*i:8*i+8])
		}
	default:
		word(v, p)
	}
	return p
}

// checkOnly fails unless the encodings differ within the row, and nowhere else
// but in the seal, which has to differ.
func checkOnly(t *testing.T, before, after []byte, r, seal drawnRow) {
	t.Helper()
	if bytes.Equal(before[r.offset:r.end()], after[r.offset:r.end()]) {
		t.Errorf("bytes %d to %d do not change", r.offset, r.end())
	}
	for i := range before {
		in := i >= r.offset && i < r.end() || i >= seal.offset && i < seal.end()
		if !in && before[i] != after[i] {
			t.Errorf("byte %d changes, drawn are bytes %d to %d", i, r.offset, r.end())
		}
	}
	if bytes.Equal(before[seal.offset:seal.end()], after[seal.offset:seal.end()]) {
		t.Errorf("%s does not cover it", seal.name)
	}
}

func TestDrawingsAreWhatTheEncodersDo(t *testing.T) {
	src := parseSource(t)
	for _, d := range drawnTypes() {
		t.Run(d.name, func(t *testing.T) {
			rows := src.drawing(t, d.name)
			d.value.SetZero()
			empty := d.encode()
			checkTiles(t, rows, len(empty))
			if len(empty) > 512 {
				t.Errorf("%d bytes do not fit into one sector", len(empty))
			}
			i := slices.IndexFunc(rows, func(r drawnRow) bool { return r.name == d.sealed })
			if i != len(rows)-1 || rows[i].bytes != 4 {
				t.Fatalf("%s is row %d of %d", d.sealed, i, len(rows))
			}
			seal := rows[i]
			known := map[string]bool{}
			for _, r := range rows {
				field, ok := d.fields[r.name]
				if !ok {
					d.checkFixed(t, r, empty)
					continue
				}
				known[field] = true
				t.Run(r.name, func(t *testing.T) { d.checkField(t, d.value.FieldByName(field), r, seal) })
			}
			d.checkAllDrawn(t, known)
		})
	}
}

// checkField checks that the struct's field is what the row draws.
func (d *drawn) checkField(t *testing.T, field reflect.Value, r, seal drawnRow) {
	d.value.SetZero()
	before := d.encode()
	want := fill(t, field, r.bytes, r.text)
	after := d.encode()
	checkOnly(t, before, after, r, seal)
	if diff := cmp.Diff(want, after[r.offset:r.end()]); diff != "" {
		t.Errorf("not little-endian in its place (-want +got):\n%s", diff)
	}
	got := binary.LittleEndian.Uint32(after[seal.offset:])
	if want := crc32c(d.seed, after[:seal.offset]); got != want {
		t.Errorf("%s is %#x, the CRC-32C of what it is to cover %#x", seal.name, got, want)
	}
}

// checkFixed checks a drawn field that carries no field of the struct alone.
func (d *drawn) checkFixed(t *testing.T, r drawnRow, empty []byte) {
	t.Helper()
	b := empty[r.offset:r.end()]
	switch r.name {
	case "magic":
		if magic, err := strconv.Unquote(r.text); err != nil || magic != string(b) {
			t.Errorf("magic is drawn as %s and encoded as %q", r.text, b)
		}
	case "version":
		if v := binary.LittleEndian.Uint32(b); v != frame.Version || r.bytes != 4 {
			t.Errorf("version is %d in %d bytes, Version is %d", v, r.bytes, frame.Version)
		}
	case "reserved":
		if !bytes.Equal(b, make([]byte, r.bytes)) || r.text != "zero" {
			t.Errorf("reserved is drawn as %s and encoded as %x", r.text, b)
		}
	case "crc":
		if n := textNumber(t, r.text, `the (\d+) bytes before`); n != r.offset {
			t.Errorf("crc covers %d bytes by its text, %d lie before it", n, r.offset)
		}
		if seeded := strings.Contains(r.text, "seed"); seeded != (d.seed != nil) {
			t.Errorf("crc covers a seed: %v by its text", seeded)
		}
	case "flags", "link": // tested below
		if d.name != "Frame" {
			t.Errorf("%s is drawn, and not the struct's", r.name)
		}
	default:
		t.Errorf("%s is drawn, and not the struct's", r.name)
	}
}

// checkAllDrawn checks that the drawing leaves no field of the struct out.
func (d *drawn) checkAllDrawn(t *testing.T, known map[string]bool) {
	t.Helper()
	if d.name == "Frame" { // three share the flags, and Link is the encoder's result
		known["Kind"], known["First"], known["Last"], known["Link"] = true, true, true, true
	}
	for i := range d.value.NumField() {
		if name := d.value.Type().Field(i).Name; !known[name] {
			t.Errorf("field %s is not drawn", name)
		}
	}
}

func TestDrawingOfTheFlagsIsWhatTheEncoderDoes(t *testing.T) {
	rows := parseSource(t).drawing(t, "Frame")
	i := slices.IndexFunc(rows, func(r drawnRow) bool { return r.name == "flags" })
	flags, seal := rows[i], rows[len(rows)-1]
	var buf frame.Buffer
	encode := func(f frame.Frame) []byte {
		b, _ := buf.Encode(&f, 1, 2, frame.DataOffset)
		return slices.Clone(b)
	}
	empty := encode(frame.Frame{})
	for _, tt := range []struct {
		pattern string
		f       frame.Frame
		value   int // of the bits, shifted down
	}{
		{`kind \(bits (\d+)-1\)`, frame.Frame{Kind: frame.KindRecord}, 1},
		{`kind \(bits (\d+)-1\)`, frame.Frame{Kind: frame.KindMark}, 2},
		{`kind \(bits (\d+)-1\)`, frame.Frame{Kind: 0xff}, 3}, // no kind spills into other bits
		{`first \((\d+)\)`, frame.Frame{First: true}, 1},
		{`last \((\d+)\)`, frame.Frame{Last: true}, 1},
	} {
		b := encode(tt.f)
		checkOnly(t, empty, b, flags, seal)
		if want := tt.value << textNumber(t, flags.text, tt.pattern); int(b[flags.offset]) != want {
			t.Errorf("%+v: flags are %#x, drawn are %#x", tt.f, b[flags.offset], want)
		}
	}
}

// TestLinkCoversWhatItsCommentLists takes the parts in the order of Frame's
// comment, and changes each.
func TestLinkCoversWhatItsCommentLists(t *testing.T) {
	doc := strings.Join(strings.Fields(parseSource(t).docs["Frame"]), " ")
	const order = "The link covers, in this order: the segment's seed (log UUID, ordinal, salt), the previous " +
		"frame's link, the frame's offset in the segment, the high 32 bits of its LSN, and the header's first 20 bytes."
	if !strings.Contains(doc, order) {
		t.Fatal("Frame's comment says something else about the link now: change this test with it")
	}
	type parts struct {
		UUID          frame.UUID
		Ordinal, Salt uint64
		Prev          frame.Link
		Off           int64
		High          uint32
	}
	base := parts{sampleUUID, 0x0102030405060708, 0x1112131415161718, 0x21222324, 0xfffffff8, 0x31323334}
	f := frame.Frame{Length: 5, PayloadCRC: 6, Epoch: 7, Distance: 8, Kind: frame.KindRecord, Last: true}
	link := func(p parts) frame.Link {
		f.LSN = frame.LSN(p.High)<<32 | 9
		var buf frame.Buffer
		h, link := buf.Encode(&f, frame.NewSeed(p.UUID, p.Ordinal, p.Salt), p.Prev, p.Off)
		le := binary.LittleEndian
		b := le.AppendUint64(slices.Clone(p.UUID[:]), p.Ordinal)
		b = le.AppendUint64(b, p.Salt)
		b = le.AppendUint32(b, uint32(p.Prev))
		b = le.AppendUint32(b, uint32(p.Off))
		b = le.AppendUint32(b, p.High)
		if want := frame.Link(crc32c(b, h[:20])); link != want {
			t.Errorf("%+v: link is %#x, its parts' CRC-32C %#x", p, link, want)
		}
		return link
	}
	seen := map[frame.Link]parts{}
	for _, change := range []func(*parts){
		func(*parts) {},
		func(p *parts) { p.UUID[0]++ },
		func(p *parts) { p.UUID[15]++ },
		func(p *parts) { p.Ordinal++ },
		func(p *parts) { p.Ordinal ^= 1 << 63 },
		func(p *parts) { p.Salt++ },
		func(p *parts) { p.Salt ^= 1 << 63 },
		func(p *parts) { p.Prev++ },
		func(p *parts) { p.Off -= 8 },
		func(p *parts) { p.Off = frame.DataOffset },
		func(p *parts) { p.High++ },
	} {
		p := base
		change(&p)
		l := link(p)
		if other, ok := seen[l]; ok {
			t.Errorf("%+v and %+v have the same link", p, other)
		}
		seen[l] = p
	}
}

func TestDrawingOfTheSegmentIsTheConstants(t *testing.T) {
	src := parseSource(t)
	rows := src.drawing(t, "")
	last := rows[len(rows)-1]
	if last.bytes != -1 || last.offset != frame.DataOffset {
		t.Errorf("%q is drawn at %d, DataOffset is %d", last.name, last.offset, frame.DataOffset)
	}
	if want := "aligned to " + strconv.Itoa(frame.Alignment) + " bytes"; !strings.Contains(last.name, want) {
		t.Errorf("%q does not say %q", last.name, want)
	}
	checkTiles(t, rows[:len(rows)-1], frame.DataOffset)
	want := []drawnRow{
		{offset: frame.HeaderOffset, bytes: frame.BlockBytes, name: "header"},
		{offset: frame.StampOffset, bytes: frame.BlockBytes, name: "stamp"},
		{offset: frame.SlotOffset, bytes: frame.BlockBytes, name: "slot 0"},
		{offset: frame.SlotOffset + frame.BlockBytes, bytes: frame.BlockBytes, name: "slot 1"},
		{offset: frame.ControlOffset, bytes: frame.BlockBytes, name: "control"},
	}
	blocks := slices.Clone(rows[:len(rows)-1])
	for i := range blocks {
		blocks[i].text = ""
	}
	if diff := cmp.Diff(want, blocks, cmp.AllowUnexported(drawnRow{})); diff != "" {
		t.Errorf("constants and drawing differ (-constants +drawing):\n%s", diff)
	}
	if n := (frame.ControlOffset - frame.SlotOffset) / frame.BlockBytes; n != frame.Slots {
		t.Errorf("%d slots are drawn, Slots is %d", n, frame.Slots)
	}
	for _, m := range regexp.MustCompile(`\((?:type|const) (\w+)`).FindAllStringSubmatch(src.docs[""], -1) {
		if _, ok := src.docs[m[1]]; !ok {
			t.Errorf("the package comment names %s, which is not there", m[1])
		}
	}
}

func TestDrawingOfTheControlBlockIsTheConstants(t *testing.T) {
	src := parseSource(t)
	rows := src.drawing(t, "Control")
	checkTiles(t, rows, frame.ControlBytes)
	offsets := map[string]int{
		"epoch": frame.ControlEpoch, "front": frame.ControlFront,
		"appended": frame.ControlAppended, "durable": frame.ControlDurable, "next": frame.ControlNext,
	}
	names := []string{"ControlBytes"}
	for _, r := range rows {
		if off, ok := offsets[r.name]; !ok || off != r.offset || r.bytes != 8 {
			t.Errorf("%s is drawn at %d with %d bytes, the constant is %d", r.name, r.offset, r.bytes, off)
		}
		if r.offset%8 != 0 {
			t.Errorf("%s is not aligned: %d", r.name, r.offset)
		}
		names = append(names, "Control"+strings.ToUpper(r.name[:1])+r.name[1:])
	}
	declared := slices.Sorted(slices.Values(src.names["ControlEpoch"]))
	slices.Sort(names)
	if diff := cmp.Diff(declared, names); diff != "" {
		t.Errorf("constants and drawing differ (-constants +drawing):\n%s", diff)
	}
}

func TestConstantsAreWhatTheCommentsSay(t *testing.T) {
	doc := parseSource(t).docs
	for _, tt := range []struct {
		decl, pattern string
		want          int
	}{
		{"", `five blocks of (\d+) KiB`, frame.BlockBytes >> 10},
		{"Frame", `zeros up to the next multiple of (\d+) bytes`, frame.Alignment},
		{"Header", `CRC-32C of the (\d+) bytes before`, frame.SegmentHeaderBytes - 4},
		{"Stamp", `CRC-32C of the (\d+) bytes before`, frame.StampBytes - 4},
		{"Slot", `the (\d+) bytes before`, frame.SlotBytes - 4},
		{"Checkpoint", `CRC-32C of the (\d+) bytes before`, frame.CheckpointBytes - 4},
		{"Frame", `header's first (\d+) bytes`, frame.HeaderBytes - 4},
	} {
		if got := textNumber(t, doc[tt.decl], tt.pattern); got != tt.want {
			t.Errorf("%q: %d, the constant is %d", tt.pattern, got, tt.want)
		}
	}
	if frame.MaxDistance != 1<<(8*3)-1 {
		t.Errorf("MaxDistance is %d, its field has 3 bytes", frame.MaxDistance)
	}
	if frame.MaxSegmentBytes-1 > 1<<32-1 || frame.MinSegmentBytes <= frame.DataOffset {
		t.Errorf("segments of %d to %d bytes", frame.MinSegmentBytes, int64(frame.MaxSegmentBytes))
	}
}
