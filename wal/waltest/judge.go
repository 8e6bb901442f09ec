// Package waltest opens package wal to the crash lab: to judge a log that is in
// memory only, by the very code that Open has. It is no way to use a log.
package waltest

import (
	"fmt"

	"github.com/seawall-wal/seawall/wal"
	"github.com/seawall-wal/seawall/wal/internal/logdir"
	"github.com/seawall-wal/seawall/wal/internal/recovery"
)

// Judgement is what recovery makes of files in memory.
type Judgement struct {
	First, Last, Watermark wal.LSN
	Verdict                wal.Verdict
	// Damage says in words what is lost, if the log is damaged.
	Damage string
	// Missing says that there is no log: Open would make one.
	Missing bool
}

// Judge judges a log by the files of its directory, as Open does: from the
// newest segment on before which everything is proved to have been durable.
// visit is called with the records from there on. The files are neither changed
// nor kept. It returns what Open would refuse the log for, but for damage.
func Judge(files map[string][]byte, visit func(lsn wal.LSN, payload []byte) error) (Judgement, error) {
	return judge(files, false, visit)
}

// JudgeAll is Judge from the log's first segment on, as Verify does.
func JudgeAll(files map[string][]byte, visit func(lsn wal.LSN, payload []byte) error) (Judgement, error) {
	return judge(files, true, visit)
}

func judge(files map[string][]byte, all bool, visit func(wal.LSN, []byte) error) (Judgement, error) {
	res, none, err := logdir.RecoverMemory(files, recovery.Options{
		All: all, Visit: func(r recovery.Record) error { return visit(r.LSN, r.Payload) },
	})
	if err != nil {
		return Judgement{}, err
	}
	j := Judgement{
		First: res.Front, Last: res.Tail.LSN, Watermark: res.Watermark, Verdict: wal.Verdict(res.Verdict), Missing: none,
	}
	if len(res.Damage) > 0 {
		d := res.Damage[0]
		j.Damage = fmt.Sprintf("%s at %d: %s, records %d to %d", d.File, d.Offset, d.Reason, d.First, d.Last)
	}
	return j, nil
}
