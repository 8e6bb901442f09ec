//go:build linux

package main

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"unicode/utf8"

	"github.com/urfave/cli/v2"

	"github.com/seawall-wal/seawall/wal"
)

// dumpBuffer is the size of the writes to stdout, in bytes.
const dumpBuffer = 1 << 20

// dumpCommand returns `seawall dump`.
func dumpCommand(p *process) *cli.Command {
	return &cli.Command{
		Name:      "dump",
		Usage:     "write records to stdout",
		ArgsUsage: "DIR",
		Flags: []cli.Flag{
			numberFlag("from", "the first record, by its `LSN`", 0, "the first"),
			numberFlag("to", "the last record, by its `LSN`", 0, "the last"),
			&cli.StringFlag{Name: "format", Value: "raw", DefaultText: "raw", Usage: "write as `FORMAT`: raw, hex or json"},
			&cli.StringFlag{
				Name: "split", Value: splitLines, DefaultText: splitLines,
				Usage: "raw records end by `HOW`: lines, nul or len32",
			},
			&cli.StringFlag{Name: "match", DefaultText: "all", Usage: "only records that match `REGEXP`"},
			&cli.BoolFlag{Name: "extract", DisableDefaultText: true, Usage: "intact records behind damage too"},
		},
		Description: dumpText,
		Action:      p.dump,
	}
}

const dumpText = `--format  raw: the inverse of append with the same --split. len32 is
          exact for all records, lines and nul are for those that do not
          hold the byte that ends them. hex: a line a record, its LSN
          and its bytes. json: an object a line, {"lsn":1,"text":"..."},
          or with "base64" in place of "text" where the record is not
          UTF-8.

--match   takes what Go's package regexp takes: (?i) ignores case, ^ and
          $ are the record's ends. That no record matches is no error.

--extract also writes the intact records behind damage, and behind a
          torn tail, where they were never acknowledged: whole batches,
          in json marked with "behind":true. The exit code is the same.
          How sure it is that they are the log's is said for each run on
          stderr, and in json for each record. "sure":"chain": the chain
          through them is intact. "sure":"checksums": header and stamp
          of their segment are lost, and they were recognised by their
          lengths, checksums and neighbours alone.

Records come in the order of their LSNs. A torn log gives all of its
records, and exit code 1; a damaged one those before the damage, and
exit code 4. With --to, what lies behind that record is not read. A
reader that has enough, as head has, ends the command quietly, with exit
code 0.

A log that is being written may be dumped too: what comes is a prefix as
of some moment. What is truncated at the front before its turn is left
out, and said on stderr; where records that were written are replaced by
others at the same time, the exit code is 3.`

// errEnough ends a dump whose last record is written.
var errEnough = errors.New("the last record is written")

// writeError is a failed write to stdout.
type writeError struct{ err error }

// Error implements error.
func (e *writeError) Error() string { return "cannot write to stdout: " + e.err.Error() }

// Unwrap returns the error of the write.
func (e *writeError) Unwrap() error { return e.err }

// dump runs `seawall dump`. A signal ends it where it stands, also in a write
// that waits for a reader.
func (p *process) dump(c *cli.Context) error {
	dir, err := oneDir(c)
	if err != nil {
		return err
	}
	d, err := newDumping(p, c)
	if err != nil {
		return err
	}
	o := wal.DumpOptions{From: d.from, To: d.to}
	if d.match != nil {
		o.Match = d.matches
	}
	if c.Bool("extract") {
		o.Behind = d.recordBehind
		o.Sure = func(s wal.Sure) { d.sure = s }
	}
	rep, err := wal.Dump(dir, o, d.record)
	if werr := d.out.Flush(); werr != nil {
		err = &writeError{werr}
	}
	var unwritten *writeError
	switch {
	case errors.As(err, &unwritten) && isClosedPipe(err):
		return nil
	case errors.As(err, &unwritten):
		return err
	case err != nil && !errors.Is(err, errEnough):
		return err
	}
	if d.ambiguous > 0 {
		p.say("%s", ambiguousText(d.ambiguous))
	}
	if rep == nil {
		return nil
	}
	return d.outcome(p, rep)
}

// ambiguousText says that records hold the byte that ends them.
func ambiguousText(n uint64) string {
	holders := "1 record holds"
	if n != 1 {
		holders = count(n) + " records hold"
	}
	return holders + " the byte that ends a record: --split len32 is exact"
}

// dumping is one run of `seawall dump`.
type dumping struct {
	from, to  wal.LSN
	match     *regexp.Regexp // nil: all
	sure      wal.Sure       // of the record at hand, where it lies behind damage
	out       *bufio.Writer
	write     func(lsn wal.LSN, p []byte)
	delim     byte
	records   uint64
	last      wal.LSN // of them
	ambiguous uint64  // records that hold delim
	scratch   []byte
	text      bytes.Buffer
}

// newDumping reads the flags.
func newDumping(p *process, c *cli.Context) (*dumping, error) {
	d := &dumping{
		from: wal.LSN(numberOf(c, "from")), to: wal.LSN(numberOf(c, "to")),
		out: bufio.NewWriterSize(p.out, dumpBuffer),
	}
	format, split := c.String("format"), c.String("split")
	if c.IsSet("match") {
		var err error
		if d.match, err = regexp.Compile(c.String("match")); err != nil {
			return nil, usage("--match: %v", err)
		}
	}
	switch {
	case c.IsSet("from") && d.from == 0, c.IsSet("to") && d.to == 0:
		return nil, usage("there is no LSN 0: the first record of a log is LSN 1")
	case d.to != 0 && d.to < d.from:
		return nil, usage("--from %d is behind --to %d", d.from, d.to)
	case !slices.Contains(splitNames, split):
		return nil, usage("--split %s: it is lines, nul or len32", split)
	case format != "raw" && c.IsSet("split"):
		return nil, usage("--split is for --format raw")
	}
	switch {
	case format == "hex":
		d.write = d.hex
	case format == "json":
		d.write = d.json
	case format != "raw":
		return nil, usage("--format %s: it is raw, hex or json", format)
	case split == splitLen32:
		d.write = d.len32
	case split == splitNUL:
		d.write, d.delim = d.delimited, 0
	default:
		d.write, d.delim = d.delimited, '\n'
	}
	return d, nil
}

// record writes a record.
func (d *dumping) record(lsn wal.LSN, p []byte) error {
	if err := d.put(lsn, p); err != nil {
		return err
	}
	d.records++
	d.last = lsn
	if lsn == d.to {
		return errEnough
	}
	return nil
}

// matches reports whether a record is one to write.
func (d *dumping) matches(lsn wal.LSN, p []byte) (bool, error) {
	hit := d.match.Match(p)
	if !hit && lsn == d.to {
		return false, errEnough
	}
	return hit, nil
}

// recordBehind writes a record that lies behind the damage or the torn tail.
// Unlike record it does not end the dump with --to: the verdict is still to be
// told.
func (d *dumping) recordBehind(lsn wal.LSN, p []byte) error {
	if d.match != nil && !d.match.Match(p) {
		return nil
	}
	return d.put(lsn, p)
}

// put writes a record's bytes.
func (d *dumping) put(lsn wal.LSN, p []byte) error {
	d.write(lsn, p)
	// The writer keeps its first error: a write of nothing tells it.
	if _, err := d.out.Write(nil); err != nil {
		return &writeError{err}
	}
	return nil
}

// delimited writes a record as append reads it.
func (d *dumping) delimited(_ wal.LSN, p []byte) {
	if bytes.IndexByte(p, d.delim) >= 0 {
		d.ambiguous++
	}
	_, _ = d.out.Write(p)
	_ = d.out.WriteByte(d.delim)
}

// len32 writes a record behind its length.
func (d *dumping) len32(_ wal.LSN, p []byte) {
	d.scratch = binary.BigEndian.AppendUint32(d.scratch[:0], uint32(len(p)))
	_, _ = d.out.Write(d.scratch)
	_, _ = d.out.Write(p)
}

// hex writes a record as its LSN and its bytes in hex.
func (d *dumping) hex(lsn wal.LSN, p []byte) {
	d.scratch = strconv.AppendUint(d.scratch[:0], uint64(lsn), 10)
	d.scratch = append(d.scratch, ' ')
	d.scratch = hex.AppendEncode(d.scratch, p)
	_, _ = d.out.Write(append(d.scratch, '\n'))
}

// json writes a record as a JSON object.
func (d *dumping) json(lsn wal.LSN, p []byte) {
	d.scratch = strconv.AppendUint(append(d.scratch[:0], `{"lsn":`...), uint64(lsn), 10)
	if utf8.Valid(p) {
		d.text.Reset()
		enc := json.NewEncoder(&d.text)
		enc.SetEscapeHTML(false)
		_ = enc.Encode(string(p)) // a string always can be
		d.scratch = append(append(d.scratch, `,"text":`...), bytes.TrimSuffix(d.text.Bytes(), []byte("\n"))...)
	} else {
		d.scratch = append(d.scratch, `,"base64":"`...)
		d.scratch = append(base64.StdEncoding.AppendEncode(d.scratch, p), '"')
	}
	if d.sure != "" {
		d.scratch = append(append(d.scratch, `,"behind":true,"sure":"`...), d.sure...)
		d.scratch = append(d.scratch, '"')
	}
	_, _ = d.out.Write(append(d.scratch, "}\n"...))
}

// sureWords says how sure it is that records are the log's.
func sureWords(s wal.Sure) string {
	if s == wal.SureChecksums {
		return "checksums only"
	}
	return "chain intact"
}

// outcome says what the records that were written are not, and returns the exit
// code.
func (d *dumping) outcome(p *process, rep *wal.Report) error {
	if d.from != 0 && d.from < rep.FirstLSN && rep.LastLSN >= rep.FirstLSN {
		p.say("the log begins with LSN %d", rep.FirstLSN)
	}
	written := "no record was written"
	if d.records > 0 {
		written = fmt.Sprintf("what was written ends with LSN %d", d.last)
	}
	for _, r := range rep.Extracted {
		written += fmt.Sprintf("\n%s: intact behind that, and %s too: %s", lsnText(r.First, r.Last),
			map[bool]string{true: "written", false: "searched"}[d.match == nil], sureWords(r.Sure))
	}
	for _, w := range rep.Warnings {
		p.say("%s", w)
	}
	switch rep.Verdict {
	case wal.Damaged:
		p.say("%s\n%s", damagedWords(rep.LastLSN, rep.DurableLSN, rep.Damage), written)
		for _, place := range rep.Damage {
			p.say("%s at offset %d: %s", place.File, place.Offset, place.Reason)
		}
		p.say("`seawall verify` shows more")
	case wal.Torn:
		p.say("%s\n%s", verdictWords(rep.Verdict), written)
	case wal.Clean:
		if d.to > rep.LastLSN || d.from > rep.LastLSN {
			p.say("the log ends at LSN %d", rep.LastLSN)
		}
	}
	return verdictError(rep.Verdict)
}
