//go:build linux

package campaign

// Examiner is a Subject that can be asked what it makes of what a broken disk has left: one that
// has promised more than it has done, or has changed what it holds. No program can keep what such
// a disk loses. It can tell, and must not take for right what is not.
//
// Its methods are called by several goroutines at once, like those of a Subject.
type Examiner interface {
	Subject

	// Examine recovers what is in dir and says what came of it. life is what was known at each
	// moment of the life, in order, from before the first to when the power was cut. An error
	// ends the campaign.
	Examine(dir string, life []Known, o Examination) (Examined, error)

	// AppendLife appends what was known of a life, for a token, and ParseLife reads it again.
	AppendLife(b []byte, life []Known) ([]byte, error)
	ParseLife(b []byte) ([]Known, error)
}

// Examination is how a subject is asked.
type Examination struct {
	// OpenFirst leaves out what only looks, so that nothing reads the files before recovery.
	OpenFirst bool

	// Promised is what an earlier examination of the same content has returned as that: with
	// OpenFirst nothing looks for it.
	Promised uint64
}

// Outcome is what became of a program's data on a broken disk.
type Outcome string

// The outcomes.
const (
	// Harmless: all that was acknowledged is there, unaltered, and nothing was refused.
	Harmless Outcome = "harmless"
	// Told: the program refuses the data or reports damage, and serves nothing altered.
	Told Outcome = "told"
	// ToldTorn: something acknowledged is missing at the end, and the program reports a torn end:
	// that there was more which is no more whole, but not that it was acknowledged.
	ToldTorn Outcome = "told as torn"
	// RolledBack: the program holds what it has held at an earlier moment, or could have after a
	// power cut then, and nothing that it has left tells of more.
	RolledBack Outcome = "rolled back"
	// Believed: something is served that was never written so, or something acknowledged is
	// missing, and the program says nothing although it could have known.
	Believed Outcome = "believed"
)

// Examined is what came of an examination.
type Examined struct {
	Outcome Outcome
	Kind    Kind   // of what was believed or rolled back
	Clause  Clause // of the same
	What    string // in words

	// Promised is the highest number that something on the disk named durable, by the subject's
	// own count; 0 is none.
	Promised uint64
}
