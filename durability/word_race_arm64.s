//go:build race

#include "textflag.h"

// func loadWord(p *uint64) uint64
TEXT ·loadWord(SB), NOSPLIT, $0-16
	MOVD p+0(FP), R0
	LDAR (R0), R0
	MOVD R0, ret+8(FP)
	RET

// func storeWord(p *uint64, v uint64)
TEXT ·storeWord(SB), NOSPLIT, $0-16
	MOVD p+0(FP), R0
	MOVD v+8(FP), R1
	STLR R1, (R0)
	RET

// func storeNothing(p *uint32)
TEXT ·storeNothing(SB), NOSPLIT, $0-8
	MOVD p+0(FP), R0

again:
	LDAXRW (R0), R1
	STLXRW R1, (R0), R2
	CBNZ   R2, again
	RET
