package probe

// What tests look into.
var (
	Within    = within
	ErrStuck  = errStuck
	Judge     = judge
	Advise    = advise
	FillSizes = fillSizes
)

// Words returns the promise for a kind of filesystem.
var Words = (*Promise).words

// DefaultSegmentBytes and DefaultSegmentsAhead are what this package takes for those of wal.
const (
	DefaultSegmentBytes  = defaultSegmentBytes
	DefaultSegmentsAhead = defaultSegmentsAhead
	MaxSegmentsAhead     = maxSegmentsAhead
)
