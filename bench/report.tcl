# report.tcl - the table of targets, on the terminal and as Markdown.
#
#     faster WHAT OURS PEER UNIT PEER-NAME WANTED     the peer's cost divided by ours, at least WANTED
#     at_most WHAT OURS PEER UNIT PEER-NAME WANTED    our cost divided by the peer's, at most WANTED
#     more WHAT OURS PEER UNIT PEER-NAME WANTED       our rate divided by the peer's, at least WANTED
#     limit WHAT OURS UNIT WANTED ?least?             ours by itself, at most (at least) WANTED
#     absent WHAT PEER-NAME WANTED                    a comparison with a peer that is not here
#
# A cost is a time or a size, less of it is better. WANTED "" makes a row that is there to compare and
# asks nothing. UNIT: ns (a time), rate (a second), bytes.

set rows {}

proc grouped {number} {
  set text [format %.0f $number]
  while {[regsub {^(-?\d+)(\d{3})} $text {\1,\2} text]} {}
  return $text
}

proc in_unit {value unit} {
  switch $unit {
    ns {
      if {$value < 100} { return [format "%.1f ns" $value] }
      if {$value < 1000} { return [format "%.0f ns" $value] }
      if {$value < 1e5} { return [format "%.2f us" [expr {$value / 1e3}]] }
      if {$value < 1e6} { return [format "%.0f us" [expr {$value / 1e3}]] }
      return [format "%.2f ms" [expr {$value / 1e6}]]
    }
    rate { return "[grouped $value]/s" }
    bytes { return [format "%.1f bytes" $value] }
  }
}

proc add_row {what ours peer ratio wanted reached} {
  lappend ::rows [list $lib::target $what $ours $peer $ratio $wanted $reached]
}

proc verdict {ok} { return [expr {$ok ? "reached" : "MISSED"}] }

# As it is shown, so that what reads as reached is.
proc ratio_text {ratio} { return [format [expr {$ratio < 10 ? "%.2f" : "%.1f"}] $ratio] }

proc compare {what ours peer unit name ratio sign wanted {how ""}} {
  set shown [ratio_text $ratio]
  set reached "-"
  set text "-"
  if {$wanted ne ""} {
    set reached [verdict [expr "$shown $sign $wanted"]]
    set text "$sign $wanted x$how"
  }
  add_row $what [in_unit $ours $unit] "$name [in_unit $peer $unit]" "$shown x$how" $text $reached
}

proc faster {what ours peer unit name wanted} {
  compare $what $ours $peer $unit $name [expr {double($peer) / $ours}] >= $wanted " faster"
}

proc at_most {what ours peer unit name wanted} {
  compare $what $ours $peer $unit $name [expr {double($ours) / $peer}] <= $wanted
}

proc more {what ours peer unit name wanted} {
  compare $what $ours $peer $unit $name [expr {double($ours) / $peer}] >= $wanted
}

proc limit {what ours unit wanted {least ""}} {
  set sign [expr {$least eq "" ? "<=" : ">="}]
  add_row $what [in_unit $ours $unit] "" "" "$sign [in_unit $wanted $unit]" \
    [verdict [expr "$ours $sign $wanted"]]
}

proc absent {what name wanted} { add_row $what "" "$name is not here" "" $wanted "not measured" }

# --- how it is shown ------------------------------------------------------------------------------

# Reached first, then missed, then what could not be measured, then what asks nothing.
proc sorted_rows {} {
  set sorted {}
  foreach reached {reached MISSED "not measured" -} {
    foreach row $::rows { if {[lindex $row 6] eq $reached} { lappend sorted $row } }
  }
  return $sorted
}

set titles {target what ours peer ratio wanted reached}

# Lines of columns as wide as their widest text.
proc text_table {titles rows} {
  set widths [lmap title $titles { string length $title }]
  foreach row $rows {
    set widths [lmap width $widths text $row { expr {max($width, [string length $text])} }]
  }
  set lines {}
  set rule [lmap width $widths { string repeat - $width }]
  foreach row [linsert $rows 0 $titles $rule] {
    lappend lines [string trimright [join [lmap width $widths text $row { format "%-${width}s" $text }] "  "]]
  }
  return [join $lines \n]
}

proc markdown_table {titles rows} {
  set lines {}
  foreach row [linsert $rows 0 $titles [lmap title $titles { string cat --- }]] {
    lappend lines "| [join $row { | }] |"
  }
  return [join $lines \n]
}

proc summary {} {
  set counts [dict create reached 0 MISSED 0 "not measured" 0 - 0]
  foreach row $::rows { dict incr counts [lindex $row 6] }
  return "[dict get $counts reached] reached, [dict get $counts MISSED] missed,\
    [dict get $counts {not measured}] not measured"
}
