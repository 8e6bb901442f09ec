package recovery

// Survey tells of a log what the heads of its segments alone tell: which files
// are the log's, in what state, where they begin, and which are missing. It
// reads no frame: there is no verdict, no tail, and Damage lists only what names
// and heads show. A segment's Last is known where another one follows.
func Survey(files []File, o Options) (*Result, error) {
	j, err := readHeads(files, o)
	if err != nil {
		return nil, err
	}
	j.rule()
	j.classify()
	j.infos = make([]Segment, len(j.all))
	j.chain = chain{start: 0, end: -1}
	for i, s := range j.log {
		if !s.stamped || s.headerErr != "" {
			continue
		}
		if j.chain.end >= 0 {
			j.infos[j.log[j.chain.end].index].Last = s.Stamp.First - 1
		}
		j.chain.end = i
	}
	r := &Result{
		UUID: j.uuid, Warnings: j.warnings, Damage: j.structural,
		Front: j.front, First: j.firstHeld(), Epoch: j.epoch, Cut: j.cut,
		Tail: Tail{File: -1}, Segments: j.states(),
	}
	if j.chain.end >= 0 {
		r.Tail.File = j.log[j.chain.end].index
	}
	if len(r.Damage) > 0 {
		r.Verdict = Damaged
	}
	return r, nil
}
