// Package waltest lets the crash lab recover a log that is in memory only, by the
// very code that Open runs: no directory is needed, so thousands of states can be
// checked a second. It also opens logs that are wrong in known ways, which the lab has to
// find. It is no way to use a log. Its functions may be called concurrently.
package waltest

import (
	"fmt"

	"github.com/seawall-wal/seawall/wal"
	"github.com/seawall-wal/seawall/wal/internal/logdir"
	"github.com/seawall-wal/seawall/wal/internal/recovery"
)

// Recovered is what recovery makes of files in memory. A Last below First says that the log
// is empty, a Watermark above Last that acknowledged records are lost.
type Recovered struct {
	First, Last, Watermark wal.LSN
	Verdict                wal.Verdict
	// Damage says in words what is lost, if the log is damaged.
	Damage string
	// Missing says that there is no log: Open would make one.
	Missing bool
}

// Recover recovers a log from the files of its directory, as Open does: from the
// newest segment on before which everything is proved to have been durable.
// visit is called with the records from there on. The files are neither changed
// nor kept. It returns the error with which Open would refuse the log; damage is
// no error here.
func Recover(files map[string][]byte, visit func(lsn wal.LSN, payload []byte) error) (Recovered, error) {
	return recoverFiles(files, recovery.Options{}, visit)
}

// RecoverAll is Recover from the log's first segment on, as Verify does. It finds damage
// that Recover, which trusts what is proved to have been durable, does not look for.
func RecoverAll(files map[string][]byte, visit func(lsn wal.LSN, payload []byte) error) (Recovered, error) {
	return recoverFiles(files, recovery.Options{All: true}, visit)
}

// recoverFiles recovers the files with the options. Of the damage it names the first only,
// which is enough for a finding.
func recoverFiles(files map[string][]byte, o recovery.Options, visit func(wal.LSN, []byte) error) (Recovered, error) {
	o.Visit = func(r recovery.Record) error { return visit(r.LSN, r.Payload) }
	res, none, err := logdir.RecoverMemory(files, o)
	if err != nil {
		return Recovered{}, err
	}
	r := Recovered{
		First: res.Front, Last: res.Tail.LSN, Watermark: res.Watermark, Verdict: wal.Verdict(res.Verdict), Missing: none,
	}
	if len(res.Damage) > 0 {
		d := res.Damage[0]
		r.Damage = fmt.Sprintf("%s at %d: %s, records %d to %d", d.File, d.Offset, d.Reason, d.First, d.Last)
	}
	return r, nil
}
