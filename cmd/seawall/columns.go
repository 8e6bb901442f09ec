//go:build linux

package main

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// Between two columns, and in front of the first, there are two spaces.
const columnGap = 2

// columns returns the lines of a table. A column that holds numbers throughout
// stands right. Cells of a table that is wider than a line are broken at spaces.
func columns(head []string, rows [][]string) []string {
	if len(head) == 0 {
		return nil
	}
	all := append([][]string{head}, rows...)
	widths, numbers := fitted(all), make([]bool, len(head))
	for i := range head {
		numbers[i] = true
		for _, row := range rows {
			numbers[i] = numbers[i] && (row[i] == "" || row[i][0] >= '0' && row[i][0] <= '9')
		}
	}
	var lines []string
	for _, row := range all {
		cells, height := make([][]string, len(row)), 1
		for i, cell := range row {
			cells[i] = breakLines(cell, widths[i])
			height = max(height, len(cells[i]))
		}
		for n := range height {
			var b strings.Builder
			for i, cell := range cells {
				text, width := "", widths[i]
				if n < len(cell) {
					text = cell[n]
				}
				if !numbers[i] {
					width = -width
				}
				fmt.Fprintf(&b, "%*s%*s", width, text, columnGap, "")
			}
			lines = append(lines, strings.TrimRight(b.String(), " "))
		}
	}
	return lines
}

// fitted returns how wide the columns of a table are: as their longest cells, or less,
// where the table would be wider than a line. Then the widest one that has a space to
// be broken at gives way first.
func fitted(rows [][]string) []int {
	widths, least := make([]int, len(rows[0])), make([]int, len(rows[0]))
	for _, row := range rows {
		for i, cell := range row {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
			for word := range strings.SplitSeq(cell, " ") {
				least[i] = max(least[i], utf8.RuneCountInString(word))
			}
		}
	}
	excess := -lineWidth
	for _, width := range widths {
		excess += width + columnGap
	}
	for ; excess > 0; excess-- {
		widest := -1
		for i := range widths {
			if widths[i] > least[i] && (widest < 0 || widths[i] > widths[widest]) {
				widest = i
			}
		}
		if widest < 0 {
			break
		}
		widths[widest]--
	}
	// One that gave way may not need all that it has kept.
	for i := range widths {
		width := 0
		for _, row := range rows {
			for _, line := range breakLines(row[i], widths[i]) {
				width = max(width, utf8.RuneCountInString(line))
			}
		}
		widths[i] = width
	}
	return widths
}
