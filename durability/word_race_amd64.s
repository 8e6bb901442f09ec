//go:build race

#include "textflag.h"

// func loadWord(p *uint64) uint64
TEXT ·loadWord(SB), NOSPLIT, $0-16
	MOVQ p+0(FP), AX
	MOVQ (AX), AX
	MOVQ AX, ret+8(FP)
	RET

// func storeWord(p *uint64, v uint64)
TEXT ·storeWord(SB), NOSPLIT, $0-16
	MOVQ  p+0(FP), AX
	MOVQ  v+8(FP), BX
	XCHGQ BX, (AX)
	RET

// func storeNothing(p *uint32)
TEXT ·storeNothing(SB), NOSPLIT, $0-8
	MOVQ p+0(FP), AX
	XORL BX, BX
	LOCK
	XADDL BX, (AX)
	RET
