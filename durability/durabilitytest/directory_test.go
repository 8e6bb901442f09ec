package durabilitytest_test

import (
	"testing"

	"github.com/seawall-wal/seawall/durability"
)

func TestCrashNames(t *testing.T) {
	t.Parallel()
	checkCrashes(t, nameCases)
}

var nameCases = []crashCase{
	{"operations on different names go one by one", func(tr *trace) {
		tr.created(1, "f", 0)
		tr.create(2, "g")
		tr.remove("f")
	}, []string{"", "f=", "g=", "f= g="}},
	{"a sync of a file keeps no name", func(tr *trace) {
		tr.create(1, "f")
		tr.sync(1)
	}, []string{"", "f="}},
	{"a sync of the directory keeps all", func(tr *trace) {
		tr.created(1, "f", 0)
		tr.create(2, "g")
		tr.remove("f")
		tr.syncDir()
	}, []string{"g="}},
	{"but no content", func(tr *trace) {
		tr.create(1, "f")
		tr.write(1, 0, sectors("a"))
		tr.syncDir()
	}, []string{"f=", "f=.", "f=a"}},
	{"what ended before the sync began is covered, what ended within is not", func(tr *trace) {
		create := tr.begin(durability.Event{Op: durability.OpCreate, File: 1, Name: "f"})
		late := tr.begin(durability.Event{Op: durability.OpCreate, File: 2, Name: "g"})
		create(nil)
		sync := tr.begin(durability.Event{Op: durability.OpSyncDir})
		late(nil)
		tr.create(3, "h")
		sync(nil)
	}, []string{"f=", "f= g=", "f= h=", "f= g= h="}},
	{"a sync that failed or has not returned keeps nothing", func(tr *trace) {
		tr.create(1, "f")
		tr.begin(durability.Event{Op: durability.OpSyncDir})(errSync)
		tr.begin(durability.Event{Op: durability.OpSyncDir})
	}, []string{"", "f="}},
	{"an earlier sync that returns later takes nothing back", func(tr *trace) {
		early := tr.begin(durability.Event{Op: durability.OpSyncDir})
		tr.create(1, "f")
		tr.syncDir()
		early(nil)
	}, []string{"f="}},
	{"a rename is atomic", func(tr *trace) {
		tr.created(1, "f", 1)
		tr.created(2, "g", 2)
		tr.rename(1, "f", "g")
	}, []string{"f=. g=..", "g=."}},
	{"and needs the name it moves", func(tr *trace) {
		tr.create(1, "f")
		tr.rename(1, "f", "g")
	}, []string{"", "f=", "g="}},
	{"the file keeps its content across it", func(tr *trace) {
		tr.created(1, "f", 1)
		tr.rename(1, "f", "g")
		tr.store(1, 0, sectors("a"))
		tr.sync(1)
	}, []string{"f=a", "g=a"}},
	{"a rename without a sync of the file may leave it empty", func(tr *trace) {
		tr.created(1, "f", 1)
		tr.create(2, "f.tmp")
		tr.write(2, 0, sectors("a"))
		tr.rename(2, "f.tmp", "f")
		tr.syncDir()
	}, []string{"f=", "f=.", "f=a"}},
	{"operations on one name stay in order", func(tr *trace) {
		tr.created(1, "f", 1)
		tr.remove("f")
		tr.create(2, "f")
		tr.remove("f")
		tr.create(3, "g")
	}, []string{"f=.", "", "f=", "f=. g=", "g=", "f= g="}},
	{"across a rename too", func(tr *trace) {
		tr.created(1, "a", 1)
		tr.created(2, "b", 2)
		tr.rename(1, "a", "x")
		tr.rename(2, "b", "x")
	}, []string{"a=. b=..", "b=.. x=.", "x=.."}},
	{"a rename of two names of one file does nothing", func(tr *trace) {
		tr.created(1, "f", 0)
		tr.link(1, "g")
		tr.syncDir()
		tr.rename(1, "f", "g")
	}, []string{"f= g="}},
	{"a rename of a file that nobody knows is none", func(tr *trace) {
		tr.rename(9, "f", "g")
		tr.begin(durability.Event{Op: durability.OpRename, File: 9, NewName: "h"})
	}, []string{""}},
	{"nor does it take away what it would replace", func(tr *trace) {
		tr.created(1, "g", 1)
		tr.rename(9, "f", "g")
	}, []string{"g=."}},
	{"an exchange is atomic", func(tr *trace) {
		tr.created(1, "f", 1)
		tr.created(2, "g", 2)
		tr.do(durability.Event{Op: durability.OpExchange, Name: "f", NewName: "g"})
	}, []string{"f=. g=..", "f=.. g=."}},
	{"and comes before what follows on its names", func(tr *trace) {
		tr.created(1, "f", 1)
		tr.created(2, "g", 2)
		tr.do(durability.Event{Op: durability.OpExchange, Name: "f", NewName: "g"})
		tr.remove("g")
	}, []string{"f=. g=..", "f=.. g=.", "f=.."}},
	{"a link and a removal are two", func(tr *trace) {
		tr.created(1, "f", 1)
		tr.link(1, "g")
		tr.remove("f")
	}, []string{"f=.", "f=. g=.", "g=.", ""}},
	{"a link of a file that nobody knows is none", func(tr *trace) {
		tr.link(9, "g")
		tr.begin(durability.Event{Op: durability.OpLink, File: 9, NewName: "h"})
	}, []string{""}},
	{"a file without a name is in no state", func(tr *trace) {
		tr.begin(durability.Event{Op: durability.OpCreate, File: 1})
	}, []string{""}},
	{"a file may be known by name alone", func(tr *trace) {
		tr.created(1, "f", 1)
		tr.created(2, "g", 1)
		for _, name := range []string{"f", "g"} {
			tr.Trace(durability.Event{
				Op: durability.OpStore, Phase: durability.Before, Dir: dir, Name: name,
				Length: sector, Data: sectors(name),
			})
		}
		tr.do(durability.Event{Op: durability.OpSync, Name: "f"})
		tr.do(durability.Event{Op: durability.OpSync, Name: "g"})
	}, []string{"f=f g=g"}},
	{"a link is the same file", func(tr *trace) {
		tr.created(1, "f", 1)
		tr.link(1, "g")
		tr.store(1, 0, sectors("a"))
		tr.syncDir()
		tr.remove("f")
	}, []string{"f=. g=.", "f=a g=a", "g=.", "g=a"}},
	{"a file without a name gets one by a link", func(tr *trace) {
		tr.create(1, "")
		tr.write(1, 0, sectors("a"))
		tr.sync(1)
		tr.link(1, "f")
	}, []string{"", "f=a"}},
	{"a link under way may be there", func(tr *trace) {
		tr.created(1, "f", 1)
		tr.begin(durability.Event{Op: durability.OpLink, File: 1, NewName: "g"})
	}, []string{"f=.", "f=. g=."}},
	{"a name used again is another file", func(tr *trace) {
		tr.created(1, "f", 1)
		tr.store(1, 0, sectors("a"))
		tr.sync(1)
		tr.remove("f")
		tr.create(2, "f")
		tr.syncDir()
		tr.store(1, 0, sectors("b"))
	}, []string{"f="}},
	{"a directory may be missing with all that is in it", func(tr *trace) {
		tr.mkdir(dir, "sub")
		tr.mkdir(dir+"/sub", "deep")
		tr.do(durability.Event{Op: durability.OpSyncDir, Dir: dir + "/sub"})
		tr.do(durability.Event{Op: durability.OpCreate, Dir: dir + "/sub", Name: "f", File: 1})
	}, []string{"", "sub/ sub/deep/", "sub/ sub/deep/ sub/f="}},
	{"a directory under way may be there", func(tr *trace) {
		tr.begin(durability.Event{Op: durability.OpMkdir, Name: "sub"})
	}, []string{"", "sub/"}},
	{"a directory is one, however its path is written", func(tr *trace) {
		tr.create(1, "f")
		tr.do(durability.Event{Op: durability.OpSyncDir, Dir: dir + "/x/../"})
	}, []string{"f="}},
}
