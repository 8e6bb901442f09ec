package durabilitytest_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/seawall-wal/seawall/durability/durabilitytest"
)

func TestOdometer(t *testing.T) {
	t.Parallel()
	var all durabilitytest.Odometer
	var got [][]int
	for all.Next() {
		// The second question depends on the first answer.
		a := all.IntN(3)
		row := []int{a}
		if a > 0 {
			row = append(row, all.IntN(a+1))
		}
		got = append(got, row)
	}
	want := [][]int{{0}, {1, 0}, {1, 1}, {2, 0}, {2, 1}, {2, 2}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("combinations (-want +got):\n%s", diff)
	}
}

func TestOdometerRefusesAnotherQuestion(t *testing.T) {
	t.Parallel()
	var all durabilitytest.Odometer
	all.Next()
	all.IntN(2)
	all.Next()
	defer func() {
		if recover() == nil {
			t.Error("another question for the same answers did not panic")
		}
	}()
	all.IntN(3)
}

func TestHoldBack(t *testing.T) {
	t.Parallel()
	tr := newTrace()
	tr.created(1, "f", 3)
	tr.store(1, 0, sectors("a"))
	tr.store(1, 0, sectors("bb"))
	tr.create(2, "g")
	tr.store(1, 2*sector, sectors("c")[:16])
	var got []string
	for i := 0; ; i++ {
		h := durabilitytest.HoldBack{Index: i}
		state := describe(tr.Crash(dir, tr.Len(), &h))
		if !h.Hit() {
			break
		}
		got = append(got, state)
	}
	want := []string{"f=bb(c2.62)", "f=.b(c2.62) g=", "f=b.(c2.62) g=", "f=bb(.1c1.62) g=", "f=bb(c1.63) g="}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("states (-want +got):\n%s", diff)
	}
}

func TestWhatChangesNothingIsNoChoice(t *testing.T) {
	t.Parallel()
	tr := newTrace()
	tr.created(1, "f", 2)
	tr.store(1, 0, sectors("a"))
	tr.sync(1)
	tr.store(1, 0, sectors("a."))
	tr.truncate(1, 2*sector)
	tr.syncDir()
	var h durabilitytest.HoldBack
	if tr.Crash(dir, tr.Len(), &h); h.Hit() {
		t.Error("there is a choice between equal contents")
	}
}

func TestUnknownMode(t *testing.T) {
	t.Parallel()
	defer func() {
		if recover() == nil {
			t.Error("an unknown mode did not panic")
		}
	}()
	newTrace().CrashAs(99, dir, 0, nil)
}
