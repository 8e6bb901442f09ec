//go:build linux

package selftest

import (
	"errors"
	"slices"

	"github.com/seawall-wal/seawall/crashtest/campaign"
	"github.com/seawall-wal/seawall/crashtest/seawall"
	"github.com/seawall-wal/seawall/crashtest/truncate"
	"github.com/seawall-wal/seawall/durability"
	"github.com/seawall-wal/seawall/durability/durabilitytest"
	"github.com/seawall-wal/seawall/wal"
	"github.com/seawall-wal/seawall/wal/frame"
	"github.com/seawall-wal/seawall/wal/waltest"
)

// Variant is a log that is wrong in one known way.
type Variant struct {
	// Name is that of its subject, too, in tokens.
	Name string
	// Clause is the promise that it breaks.
	Clause campaign.Clause
	// Shows are the clauses that its findings may name besides: a promise about
	// recovery shows in the records that are lost by it.
	Shows []campaign.Clause
	// What is wrong with it, in words.
	What string

	fault fault

	// truncated, if set, names the wrong log in package truncate, whose campaign searches
	// it. There is no Subject then.
	truncated string

	// accept, if set, takes the oracles away: a test of the self-test does it.
	accept func(campaign.Subject) campaign.Subject
}

// Campaign returns the name of the campaign that searches it.
func (v *Variant) Campaign() string {
	if v.truncated != "" {
		return "truncate"
	}
	return "model"
}

// Subject returns the wrong log, as the model has it.
func (v *Variant) Subject() campaign.Subject {
	var s campaign.Subject = &subject{name: v.Name, fault: &v.fault}
	if v.accept != nil {
		s = v.accept(s)
	}
	return s
}

// Twin returns the log with the fault mended.
func (v *Variant) Twin() campaign.Subject {
	return &subject{name: v.Name + twinSuffix, fault: &v.fault, mended: true}
}

const twinSuffix = ", mended"

// breaks reports whether a finding of that clause is one of the fault.
func (v *Variant) breaks(c campaign.Clause) bool { return c == v.Clause || slices.Contains(v.Shows, c) }

// Find returns the subject of a name, a wrong one or a twin, or nil.
func Find(name string) campaign.Subject {
	variants := Variants()
	for i := range variants {
		switch v := &variants[i]; {
		case v.truncated != "":
		case name == v.Name:
			return v.Subject()
		case name == v.Name+twinSuffix:
			return v.Twin()
		}
	}
	return nil
}

// wrong returns a variant of package waltest.
func wrong(name string, clause campaign.Clause, w waltest.Wrong, what string, shows ...campaign.Clause) Variant {
	return Variant{Name: name, Clause: clause, What: what, Shows: shows, fault: fault{wrong: w}}
}

// skips returns a variant that skips calls.
func skips(name string, clause campaign.Clause, what string, skip func(*scene, *call) bool, shows ...campaign.Clause) Variant {
	return Variant{Name: name, Clause: clause, What: what, Shows: shows, fault: fault{skip: skip}}
}

// busy has a variant's lives be busy ones.
func busy(v Variant) Variant {
	v.fault.busy = true
	return v
}

// syncsDir reports whether the call syncs the directory after such an operation on
// such a name.
func syncsDir(sc *scene, c *call, op durability.Op, of func(name string) bool) bool {
	return c.Op == durability.OpSyncDir && sc.changed == op && of(sc.name)
}

// syncs reports whether the call syncs a file.
func syncs(c *call) bool {
	return c.Op == durability.OpMsync || c.Op == durability.OpSync || c.Op == durability.OpDatasync
}

// syncsSlot reports whether the call makes a checkpoint record durable.
func syncsSlot(c *call) bool {
	return c.Op == durability.OpMsync && c.Offset >= frame.SlotOffset && c.Offset+c.Length <= frame.SlotOffset+frame.Slots*frame.BlockBytes
}

// told returns a variant whose tracer is told another story of what msync covered.
func told(name, what string, change func(*durability.Event)) Variant {
	return Variant{Name: name, Clause: "C2", What: what, fault: fault{tell: func(_ *scene, e durability.Event) []durability.Event {
		if e.Op == durability.OpMsync {
			change(&e)
		}
		return []durability.Event{e}
	}}}
}

// Variants returns all of them, in the order of the clauses.
func Variants() []Variant {
	return slices.Concat(ofSyncs(), ofNames(), ofRecords(), ofRecovery(), ofCuts(), ofDamage(), ofTheRest())
}

// ofSyncs are those that acknowledge what is not durable.
func ofSyncs() []Variant {
	return []Variant{
		{
			Name: "ack-before-store", Clause: "C1", What: "an append returns before its record is stored",
			fault: fault{note: seawall.OverstateAppends},
		},
		{
			Name: "ack-before-msync", Clause: "C2", What: "a sync acknowledges before it syncs",
			fault: fault{early: func(_ *scene, c *call) bool { return c.Op == durability.OpMsync }},
		},
		skips("no-msync", "C2", "a sync does not sync", func(_ *scene, c *call) bool {
			return c.Op == durability.OpMsync
		}),
		told("msync-page-short", "a sync leaves out the last page of its range", func(e *durability.Event) {
			if e.Length > frame.BlockBytes {
				e.Length -= frame.BlockBytes
			}
		}),
		told("msync-page-before", "a sync covers the page before instead", func(e *durability.Event) {
			if e.Offset >= frame.DataOffset+frame.BlockBytes {
				e.Offset -= frame.BlockBytes
				e.Length = frame.BlockBytes
			}
		}),
		busy(skips("predecessor-unsynced", "C2", "records are acknowledged before those of the segment before", func(sc *scene, c *call) bool {
			return syncs(c) && !temporary(c.Name) && ordinal(c.Name) < sc.entered
		}, "C5")),
		skips("close-unsynced", "C2", "close does not sync", func(sc *scene, c *call) bool {
			return syncs(c) && sc.in("close")
		}),
		busy(wrong("followers-early", "C2", waltest.FollowersEarly, "a commit returns with the round that was in progress when it came")),
	}
}

// ofNames are those under which a file is not where it should be, or not whole.
func ofNames() []Variant {
	return []Variant{
		skips("prepared-unsynced", "C2", "a prepared segment is not synced before it gets its name", func(_ *scene, c *call) bool {
			return syncs(c) && temporary(c.Name)
		}, "C5"),
		{
			Name: "rename-before-fsync", Clause: "C2", Shows: []campaign.Clause{"C5"},
			What: "a prepared segment is synced after it got its name",
			fault: fault{tell: func(sc *scene, e durability.Event) []durability.Event {
				switch {
				case e.Op == durability.OpSync && temporary(e.Name):
					sc.held = append(sc.held, e)
					return nil
				case e.Op == durability.OpRename && e.Phase == durability.After && temporary(e.Name):
					late := append([]durability.Event{e}, sc.held...)
					sc.held = nil
					return late
				}
				return []durability.Event{e}
			}},
		},
		skips("no-dirsync-create", "C2", "the log's directory is not synced into its parent", func(sc *scene, c *call) bool {
			return c.Op == durability.OpSyncDir && sc.life != nil && c.Dir == sc.life.Dir
		}),
		skips("no-dirsync-rename", "C2", "the directory is not synced when a segment got its name", func(sc *scene, c *call) bool {
			return syncsDir(sc, c, durability.OpRename, temporary)
		}, "C5"),
		skips("no-dirsync-unlink", "C4", "the directory is not synced when segments behind a cut are removed", func(sc *scene, c *call) bool {
			return syncsDir(sc, c, durability.OpRemove, func(string) bool { return true })
		}, "C2", "C3", "C5"),
	}
}

// ofRecords are those whose recovery believes too much.
func ofRecords() []Variant {
	return []Variant{
		wrong("batch-half", "C3", waltest.BatchHalf, "recovery takes a part of a batch"),
		wrong("link-unchecked", "C3", waltest.LinkUnchecked, "recovery does not check that a frame is chained to the one before", "C5"),
		wrong("payload-unchecked", "C3", waltest.PayloadUnchecked, "recovery checks headers, and no payloads"),
		wrong("remains-accepted", "C3", waltest.RemainsAccepted, "recovery takes what a cut left behind for records", "C2", "C5"),
		wrong("stale-accepted", "C3", waltest.StaleAccepted, "recovery takes the old frames of a recycled segment for records", "C2", "C5"),
	}
}

// ofRecovery are those that open in a wrong way.
func ofRecovery() []Variant {
	return []Variant{
		skips("open-unsynced", "C4", "open acknowledges what is in the page cache only", func(sc *scene, c *call) bool {
			return syncs(c) && sc.in("open")
		}, "C2", "C3", "C5"),
		skips("head-unsynced", "C4", "open believes the heads of segments, and does not sync them", func(sc *scene, c *call) bool {
			return c.Op == durability.OpMsync && c.Offset < frame.DataOffset && sc.in("open")
		}, "C2", "C3", "C5"),
		busy(wrong("front-unnamed", "C4", waltest.FrontUnnamed, "open removes the only file that names the front", "C2", "C3", "C5")),
		wrong("epoch-falls", "C4", waltest.EpochFalls, "open goes on in the first epoch", "C1", "C2", "C3", "C5"),
	}
}

// ofCuts are those that cut in a wrong way.
func ofCuts() []Variant {
	return []Variant{
		wrong("cut-unrecorded", "C3", waltest.CutUnrecorded, "a cut at the back is recorded when it is done, not before", "C2", "C5"),
		wrong("epoch-stays", "C3", waltest.EpochStays, "a cut does not begin a new epoch", "C2", "C4", "C5"),
		skips("cut-unsynced", "C3", "the record of a cut at the back is not synced", func(sc *scene, c *call) bool {
			return syncsSlot(c) && sc.in("truncate the back")
		}, "C2", "C5"),
		skips("front-unsynced", "C3", "the record of a cut at the front is not synced", func(sc *scene, c *call) bool {
			return syncsSlot(c) && sc.in("truncate the front")
		}, "C2", "C5"),
		skips("reset-unsynced", "C3", "what a reset writes is not synced", func(sc *scene, c *call) bool {
			return syncs(c) && sc.in("reset")
		}, "C2", "C5"),
		wrong("front-unlinks-first", "C3", waltest.FrontUnlinksFirst, "a cut at the front removes files before the new front is durable", "C2", "C5"),
		skips("zeroed-unsynced", "C4", "what is zeroed behind a cut is not synced", func(sc *scene, c *call) bool {
			return c.Op == durability.OpMsync && c.Offset >= frame.DataOffset && sc.in("open", "truncate the back")
		}, "C2", "C3", "C5"),
		wrong("tail-not-zeroed", "C4", waltest.TailNotZeroed, "what lies behind a cut is not zeroed", "C2", "C3", "C5"),
		wrong("slot-in-place", "C4", waltest.SlotInPlace, "a checkpoint overwrites the newest slot instead of the older one", "C2", "C3", "C5"),
	}
}

// ofDamage are those that take damage for what a crash leaves, or the reverse.
func ofDamage() []Variant {
	return []Variant{
		wrong("watermark-early", "C5", waltest.WatermarkEarly, "a checkpoint is recorded before the sync", "C2"),
		wrong("watermark-unchecked", "C5", waltest.WatermarkUnchecked, "what was acknowledged and is damaged counts as torn"),
		{Name: "damage-trimmed", Clause: "C5", What: "open gives up what is damaged", fault: fault{open: trims}},
	}
}

// ofTheRest are those that break the promises about errors, space and readers.
func ofTheRest() []Variant {
	return []Variant{
		{
			Name: "sync-retried", Clause: "C6", Shows: []campaign.Clause{"C2", "C5"},
			What: "a sync that failed is tried again, and believed",
			fault: fault{lossy: true, skip: func(sc *scene, c *call) bool {
				return c.Op == durability.OpMsync && sc.syncs == 4 && !sc.in("open")
			}},
		},
		{
			Name: "poison-forgotten", Clause: "C6", Shows: []campaign.Clause{"C2", "C5"},
			What:  "a log acknowledges after a sync that failed",
			fault: fault{lossy: true, refused: true, wrong: waltest.PoisonForgotten},
		},
		wrong("files-unchecked", "C7", waltest.FilesUnchecked, "a sync does not look whether the files are whole"),
		{
			Name: truncate.FilesUnchecked, Clause: "C7", truncated: truncate.FilesUnchecked,
			What: "a sync does not look whether the files are whole, which others change",
		},
		{
			Name: truncate.Unguarded, Clause: "C7", truncated: truncate.Unguarded,
			What: "a load or store past the end of a truncated file is the death of the process",
		},
		skips("no-blocks", "C8", "a segment has holes where blocks should be", func(_ *scene, c *call) bool {
			return (c.Op == durability.OpWrite || c.Op == durability.OpAllocate) && temporary(c.Name)
		}, "C2", "C4", "C5", "C7"),
		{
			Name: "no-lock", Clause: "C9", What: "the log is not locked",
			fault: fault{everywhere: true, wrong: waltest.Unlocked, skip: func(_ *scene, c *call) bool { return c.Op == durabilitytest.OpLock }},
		},
		wrong("cut-unseen", "C9", waltest.CutUnseen, "a reader goes on behind what was cut away"),
		{Name: "verify-repairs", Clause: "C10", What: "verify mends what it finds", fault: fault{verify: repairs}},
	}
}

// repairs verifies a log in a wrong way.
func repairs(dir string) (*wal.Report, error) {
	if _, err := wal.Repair(dir, wal.RepairOptions{}); err != nil && !errors.Is(err, wal.ErrMissing) {
		return nil, err
	}
	return wal.Verify(dir)
}

// trims opens a log in a wrong way.
func trims(dir string, o wal.Options) (*wal.Log, error) {
	l, err := wal.Open(dir, o)
	if !errors.Is(err, wal.ErrCorrupt) {
		return l, err
	}
	if _, err = wal.Repair(dir, wal.RepairOptions{Force: true}); err != nil {
		return nil, err
	}
	return wal.Open(dir, o)
}
