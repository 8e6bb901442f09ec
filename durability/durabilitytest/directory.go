package durabilitytest

import (
	"maps"
	"sort"

	"github.com/seawall-wal/seawall/durability"
)

// directory is the history of one directory's names, by positions in the trace.
// As in an inode, nothing is ever changed but live.
type directory struct {
	ops    []nameOp
	synced []snapshot
	live   names // after all that is indexed
}

// names is what a directory holds.
type names map[string]entry

// entry is what a name leads to: a file or a directory.
type entry struct {
	file *inode
	dir  *directory
}

// nameOp is a directory operation that took effect at the event at pos.
type nameOp struct {
	pos           int
	op            durability.Op
	name, newName string
	entry         entry // what OpCreate, OpLink and OpMkdir bind
}

// snapshot says that a sync whose After event is at end made the first count
// operations durable, and what names there are then.
type snapshot struct {
	end, count int
	names      names
}

// newDirectory returns an empty directory.
func newDirectory() *directory {
	return &directory{synced: []snapshot{{end: -1, names: names{}}}, live: names{}}
}

// base binds a name from before the trace began.
func (d *directory) base(name string, e entry) {
	d.synced[0].names[name] = e
	d.live[name] = e
}

// add records an operation.
func (d *directory) add(o nameOp) {
	d.ops = append(d.ops, o)
	o.apply(d.live)
}

// sync records a successful fsync with its Before event at start and its After
// event at end.
func (d *directory) sync(start, end int) {
	last := d.synced[len(d.synced)-1]
	count := d.countAt(start)
	if count <= last.count {
		return
	}
	n := maps.Clone(last.names)
	for _, o := range d.ops[last.count:count] {
		o.apply(n)
	}
	d.synced = append(d.synced, snapshot{end, count, n})
}

// countAt returns how many operations took effect in the first at events.
func (d *directory) countAt(at int) int {
	return sort.Search(len(d.ops), func(i int) bool { return d.ops[i].pos >= at })
}

// durableAt returns what is durable after the first at events.
func (d *directory) durableAt(at int) snapshot {
	i := sort.Search(len(d.synced), func(i int) bool { return d.synced[i].end >= at })
	return d.synced[i-1]
}

// namesAt returns what every process sees after the first at events.
func (d *directory) namesAt(at int) names {
	s := d.durableAt(at)
	n := maps.Clone(s.names)
	for _, o := range d.ops[s.count:d.countAt(at)] {
		o.apply(n)
	}
	return n
}

// crashAt returns what a power loss after the first at events leaves, where the
// operations open are under way.
//
// Each operation that no sync covers may be missing. The others do not mind,
// but for those that touch one of its names later: a name has one binding after
// another, and holds one of them. A rename touches two names at once, and so is
// there or missing on both.
func (d *directory) crashAt(at int, open []nameOp, rng Rand) names {
	s := d.durableAt(at)
	n := maps.Clone(s.names)
	missing := map[string]bool{}
	unsynced := d.ops[s.count:d.countAt(at)]
	for _, list := range [][]nameOp{unsynced, open} {
		for _, o := range list {
			if o.blocked(missing) || choose(rng, 2) == 0 {
				o.block(missing)
				continue
			}
			o.apply(n)
		}
	}
	return n
}

// touches returns the names that the operation binds or unbinds; the second is
// empty where there is one only.
func (o nameOp) touches() (string, string) {
	switch o.op {
	case durability.OpRename, durability.OpExchange:
		return o.name, o.newName
	case durability.OpLink:
		return o.newName, ""
	}
	return o.name, ""
}

// blocked reports whether an earlier operation on one of the names is missing.
func (o nameOp) blocked(missing map[string]bool) bool {
	a, b := o.touches()
	return missing[a] || missing[b]
}

// block marks the operation's names: later operations on them are missing too.
func (o nameOp) block(missing map[string]bool) {
	a, b := o.touches()
	missing[a] = true
	if b != "" {
		missing[b] = true
	}
}

// apply performs the operation on n.
func (o nameOp) apply(n names) {
	switch o.op {
	case durability.OpCreate, durability.OpMkdir:
		n[o.name] = o.entry
	case durability.OpLink:
		n[o.newName] = o.entry
	case durability.OpRemove:
		delete(n, o.name)
	case durability.OpExchange:
		n[o.name], n[o.newName] = n[o.newName], n[o.name]
	case durability.OpRename:
		moved, there := n[o.name]
		// Two names of one file: rename(2) does nothing then.
		if there && moved != n[o.newName] {
			n[o.newName] = moved
			delete(n, o.name)
		}
	}
}
