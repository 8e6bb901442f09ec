//go:build linux

package experiment

import (
	"context"
	"fmt"
)

// busAdrerr is BUS_ADRERR of sigaction(2): there is nothing behind the address.
const busAdrerr = 2

// sigbus asks where a mapping bites.
var sigbus = Experiment{
	Name: "sigbus",
	Hypothesis: "Behind the page in which a truncated file ends, in a hole on a full filesystem and where a page cannot " +
		"be read, an access is SIGBUS, or under the guard an error; within that page, and where the file was extended again, " +
		"stores are lost without a signal and msync returns 0.",
	Clauses: []string{"C7 SIGBUS", "C8 full disk"},
	measure: measureSigbus,
}

// The causes, the places and the accesses of the matrix.
const (
	causeTruncated = "truncated"
	causeExtended  = "truncated, extended"
	causeHole      = "hole"
	causeFull      = "hole, full disk"
	causePageIn    = "failed page-in"

	placeBefore = "before the end"
	placeInPage = "in the end's page"
	placeBehind = "behind that page"
	placeAny    = "any"

	accessLoad     = "load"
	accessStore    = "store"
	accessCopy     = "copy into it"
	accessChecksum = "checksum"
	accessMsync    = "msync"
	accessCall     = "write(2) from it"
)

var (
	sigbusCauses   = []string{causeTruncated, causeExtended, causeHole, causeFull, causePageIn}
	sigbusAccesses = []string{accessLoad, accessStore, accessCopy, accessChecksum, accessMsync, accessCall}
)

// What an access came to.
const (
	kindDone   = "done"
	kindFault  = "FaultError"
	kindEFAULT = "EFAULT"
	kindSIGBUS = "SIGBUS"
	kindOther  = "other"
)

// sigbusOutcome is what one access came to, in one process.
type sigbusOutcome struct {
	Kind   string `json:"kind"`
	Code   int    `json:"si_code,omitempty"` // of SIGBUS
	Offset int64  `json:"offset"`            // of the fault, in the file; -1: there was none
	Text   string `json:"text,omitempty"`    // of an error of another kind

	// Lost says of a store that it went without a signal, and that msync returned
	// 0, and that the file does not have it.
	Lost bool `json:"lost"`
}

// sigbusCell is one field of the matrix.
type sigbusCell struct {
	Cause     string        `json:"cause"`
	Place     string        `json:"place"`
	Access    string        `json:"access"`
	Touched   int64         `json:"touched"` // offset
	Guarded   sigbusOutcome `json:"guarded"`
	Unguarded sigbusOutcome `json:"unguarded"`
}

// sigbusMeasured is the matrix, as far as it could be had.
type sigbusMeasured struct {
	PageBytes int64        `json:"page_bytes"`
	Cells     []sigbusCell `json:"cells"`
}

// measureSigbus goes through the causes. Two of them need a filesystem of their
// own, which a child mounts where nobody else sees it.
func measureSigbus(ctx context.Context, l *lab) (measurement, error) {
	m := &sigbusMeasured{PageBytes: pageBytes}
	for _, cause := range sigbusCauses {
		var cells []sigbusCell
		var why string
		var err error
		if cause == causeFull || cause == causePageIn {
			cells, why, err = privateCause(ctx, l, cause)
		} else {
			cells, err = runCause(ctx, &sigbusStage{Cause: cause, Dir: l.dir, SinkDir: l.dir})
		}
		if err != nil {
			return nil, err
		}
		if why != "" {
			l.notRun = append(l.notRun, cause+": "+why)
		}
		m.Cells = append(m.Cells, cells...)
	}
	return m, nil
}

// sigbusFields returns the fields of the matrix that a cause has.
func sigbusFields(cause string) []sigbusCell {
	places := []string{placeAny}
	if cause == causeTruncated || cause == causeExtended {
		places = []string{placeBefore, placeInPage, placeBehind}
	}
	var cells []sigbusCell
	for _, place := range places {
		for i, access := range sigbusAccesses {
			c := sigbusCell{Cause: cause, Place: place, Access: access}
			switch place {
			case placeBefore, placeAny:
				c.Touched = pageBytes
			case placeInPage:
				c.Touched = pageBytes + pageBytes/2
			case placeBehind:
				c.Touched = 2 * pageBytes
			}
			c.Touched += int64(i) * sigbusSpan
			cells = append(cells, c)
		}
	}
	return cells
}

// expect returns what a field of the matrix should be, under the guard and
// without it, and whether a store is lost in silence.
func (c *sigbusCell) expect() (guarded, unguarded string, lost bool) {
	store := c.Access == accessStore || c.Access == accessCopy
	switch {
	case c.Cause == causeHole, c.Place == placeBefore:
		return kindDone, kindDone, false
	case c.Cause == causeExtended, c.Place == placeInPage:
		return kindDone, kindDone, store
	case c.Access == accessMsync:
		return kindDone, kindDone, false
	case c.Access == accessCall:
		return kindFault, kindEFAULT, false
	}
	return kindFault, kindSIGBUS, false
}

// check implements measurement.
func (m *sigbusMeasured) check() complaints {
	var c complaints
	for _, cell := range m.Cells {
		where := fmt.Sprintf("%s, %s, %s", cell.Cause, cell.Place, cell.Access)
		guarded, unguarded, lost := cell.expect()
		for _, o := range []struct {
			how, want string
			got       sigbusOutcome
		}{{"guarded", guarded, cell.Guarded}, {"unguarded", unguarded, cell.Unguarded}} {
			c.unless(o.got.Kind == o.want, "%s, %s: %s instead of %s", where, o.how, o.got.words(), o.want)
			c.unless(o.got.Lost == lost, "%s, %s: lost without a signal: %t instead of %t", where, o.how, o.got.Lost, lost)
			if o.got.Kind != o.want {
				continue
			}
			if o.want == kindSIGBUS {
				c.unless(o.got.Code == busAdrerr, "%s: si_code %d instead of %d (BUS_ADRERR)", where, o.got.Code, busAdrerr)
			}
			if o.want == kindSIGBUS || o.want == kindFault {
				same := o.got.Offset/m.PageBytes == cell.Touched/m.PageBytes
				c.unless(same, "%s, %s: a fault at %d for an access at %d", where, o.how, o.got.Offset, cell.Touched)
			}
		}
	}
	return c
}

// words returns an outcome for a table.
func (o sigbusOutcome) words() string {
	switch o.Kind {
	case kindSIGBUS:
		code := fmt.Sprintf("code %d", o.Code)
		if o.Code == busAdrerr {
			code = "BUS_ADRERR"
		}
		return fmt.Sprintf("%s %s at %d", o.Kind, code, o.Offset)
	case kindFault:
		return fmt.Sprintf("%s at %d", o.Kind, o.Offset)
	case kindOther:
		return o.Text
	}
	return o.Kind
}

// table implements measurement.
func (m *sigbusMeasured) table() table {
	t := table{
		Columns: []string{"cause", "place", "access", "at", "guarded", "unguarded", "lost without a signal"},
		Note: fmt.Sprintf("a file of %d bytes, truncated to %d; unguarded, the process dies of the signal; "+
			"where the file is extended again the stores come first", sigbusFile(), sigbusEnd()),
	}
	for i, c := range m.Cells {
		cause, place := c.Cause, c.Place // said once, where they begin
		if i > 0 && m.Cells[i-1].Cause == c.Cause {
			cause = ""
			if m.Cells[i-1].Place == c.Place {
				place = ""
			}
		}
		lost := ""
		if c.Access == accessStore || c.Access == accessCopy {
			lost = "no"
			if c.Guarded.Lost || c.Unguarded.Lost {
				lost = "yes"
			}
		}
		t.add(cause, place, c.Access, c.Touched, c.Guarded.words(), c.Unguarded.words(), lost)
	}
	return t
}
