module github.com/seawall-wal/seawall/crashtest/powerloss/testdata/diskv

go 1.26.0

require github.com/peterbourgon/diskv/v3 v3.0.1

require github.com/google/btree v1.0.0 // indirect
