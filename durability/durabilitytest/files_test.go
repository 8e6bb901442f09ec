package durabilitytest_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/seawall-wal/seawall/durability/durabilitytest"
)

func TestFilesRoundTrip(t *testing.T) {
	t.Parallel()
	tmp := filepath.Join(t.TempDir(), "new")
	files := durabilitytest.Files{"a": []byte("one"), "b/": nil, "b/c/": nil, "b/c/d": []byte("two"), "e": {}}
	if err := files.WriteTo(tmp); err != nil {
		t.Fatal(err)
	}
	got, err := durabilitytest.ReadFiles(tmp)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(files, got); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
}

func TestFilesWriteToFails(t *testing.T) {
	t.Parallel()
	tmp := t.TempDir()
	file := filepath.Join(tmp, "file")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for name, err := range map[string]error{
		"into a file":       durabilitytest.Files{}.WriteTo(file),
		"a file as a dir":   durabilitytest.Files{"file/": nil}.WriteTo(tmp),
		"below what is not": durabilitytest.Files{"none/f": nil}.WriteTo(tmp),
	} {
		if err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
