package recovery

import "slices"

// Survey returns what the heads of a log's segments show: which files are the
// log's, in what state, where they begin, and which are missing. It reads no
// frame: there is no tail, and Damage and Verdict cover only what names and heads
// show. A segment's Last is known where another one follows.
//
// Inspect asks for it, by logdir.Survey: an inspection tells which pages are in memory,
// and must bring none in. It shares the first steps of Recover (heads.go), so that the
// two read a head alike; how that is done belongs there. It leaves out what takes
// frames: the seed of a segment without header and stamp (salvage.go), and whether one
// segment continues the one before it (checkEntry). The result's tail names a file only,
// the last one with a header and a stamp. It takes time in proportion to the number of
// files, whatever their sizes.
func Survey(files []File, o Options) (*Result, error) {
	a, err := readHeads(files, o)
	if err != nil {
		return nil, err
	}
	a.chooseEpoch()
	a.classify()
	a.infos = make([]Segment, len(a.all))
	a.chain = chain{start: 0, end: -1}
	for i, s := range a.log {
		if !s.stamped || s.headerErr != "" {
			continue
		}
		if a.chain.end >= 0 {
			a.infos[a.log[a.chain.end].index].Last = s.Stamp.First - 1
		}
		a.chain.end = i
	}
	r := &Result{
		UUID: a.uuid, Warnings: a.warnings, Damage: a.structural,
		Front: a.front, First: a.firstHeld(), Epoch: a.epoch, Cut: a.cut,
		Tail: Tail{File: -1}, Segments: a.states(), UsedTemp: slices.ContainsFunc(a.all, (*segment).usedBefore),
	}
	if a.chain.end >= 0 {
		r.Tail.File = a.log[a.chain.end].index
	}
	if len(r.Damage) > 0 {
		r.Verdict = Damaged
	}
	return r, nil
}
