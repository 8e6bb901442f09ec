//go:build linux

package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/seawall-wal/seawall/wal"
)

const (
	// labelWidth is the width of the labels' column.
	labelWidth = 10
	// lineWidth is the width at which texts are broken.
	lineWidth = 80
)

// table is a report for people: a label and a text in each row.
type table struct{ lines []string }

// add adds a row. Long texts go on in the next line, those of long labels begin there.
func (t *table) add(label, text string) {
	if len(label) >= labelWidth {
		t.lines = append(t.lines, label)
		label = ""
	}
	for _, line := range breakLines(text, lineWidth-labelWidth) {
		t.lines = append(t.lines, strings.TrimRight(fmt.Sprintf("%-*s%s", labelWidth, label, line), " "))
		label = ""
	}
}

// damage adds the places that are damaged.
func (t *table) damage(places []wal.Damage) {
	for _, d := range places {
		t.add("damage", fmt.Sprintf("%s at offset %d: %s", d.File, d.Offset, d.Reason))
		switch {
		case d.FirstLSN != 0 && d.Unknown:
			t.add("", "lost: "+lsnText(d.FirstLSN, d.LastLSN)+", and perhaps an unknown number behind")
		case d.FirstLSN != 0:
			t.add("", "lost: "+lsnText(d.FirstLSN, d.LastLSN))
		case d.Unknown:
			t.add("", "lost: "+unknownNumber)
		}
	}
}

// unknownNumber stands for losses of unknown size.
const unknownNumber = "an unknown number of records"

// behind adds what lies behind the last record.
func (t *table) behind(v wal.Verdict, bytes int64, intact []wal.Range) {
	if bytes == 0 && len(intact) == 0 {
		return
	}
	t.add("behind", plural(uint64(bytes), "byte")+" behind the last record")
	words := ": intact, but never acknowledged"
	if v == wal.Damaged {
		words = ": intact, but behind the damage"
	}
	for _, r := range intact {
		t.add("", lsnText(r.First, r.Last)+words)
	}
}

// print writes the table.
func (t *table) print(w io.Writer) error {
	_, err := io.WriteString(w, strings.Join(t.lines, "\n")+"\n")
	return err
}

// lsnText returns a run of records.
func lsnText(first, last wal.LSN) string {
	if first == last {
		return fmt.Sprintf("LSN %d", first)
	}
	return fmt.Sprintf("LSN %d to %d", first, last)
}

// breakLines breaks a text at spaces into lines of up to width bytes. A longer
// word gets a line of its own.
func breakLines(text string, width int) []string {
	var lines []string
	line := ""
	for _, word := range strings.Split(text, " ") {
		switch {
		case line == "":
			line = word
		case len(line)+1+len(word) <= width:
			line += " " + word
		default:
			lines = append(lines, line)
			line = word
		}
	}
	return append(lines, line)
}

// shellWord returns a file's name as a shell takes it.
func shellWord(name string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("/._-+,:@%", r)
	}
	if strings.HasPrefix(name, "-") {
		name = "./" + name
	}
	if strings.TrimFunc(name, plain) == "" {
		return name
	}
	return "'" + strings.ReplaceAll(name, "'", `'\''`) + "'"
}
