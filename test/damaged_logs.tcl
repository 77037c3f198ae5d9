# damaged_logs.tcl - a log, and what can happen to it: the corpus that the tools' tests share.
#
#     make_good_log FILE      write a log of 12 transactions of two keys each; sets the globals
#                               good     its bytes
#                               begin    the offset of the first transaction
#                               ends     the offsets behind each
#     each_damage NAME BYTES SCRIPT    run SCRIPT for every damaged image, with the variables
#                             NAME (what was done, and where) and BYTES set
#     whole_transactions BYTES    the numbers of the transactions all of whose bytes are in an image
#     content_of NUMBERS      keys and values that these transactions leave, in the order of keys

proc make_good_log {file} {
  global good begin ends
  file delete $file
  execsql "CREATE VIRTUAL TABLE temp.x USING kvstore('$file')"
  set ends {}
  for {set i 1} {$i <= 12} {incr i} {
    execsql "REPLACE INTO x VALUES('key/$i', '[string repeat [expr {$i % 10}] 30]'), ('n', $i)"
    lappend ends [db one {SELECT log_bytes FROM kvstore_stat}]
  }
  execsql {DROP TABLE temp.x}
  reset_db
  set good [file_bytes $file]
  set begin [expr {[string first \n $good] + 1}]
}

# Where transaction N, counted from 1, stands: its first byte and the one behind its last.
proc transaction_place {n} {
  global begin ends
  return [list [expr {$n == 1 ? $begin : [lindex $ends $n-2]}] [lindex $ends $n-1]]
}

proc transaction_bytes {n} {
  lassign [transaction_place $n] from to
  return [string range $::good $from $to-1]
}

proc whole_transactions {bytes} {
  set numbers {}
  for {set n 1} {$n <= 12} {incr n} {
    if {[string first [transaction_bytes $n] $bytes] >= 0} { lappend numbers $n }
  }
  return $numbers
}

proc content_of {numbers} {
  set content [dict create]
  foreach n $numbers {
    dict set content key/$n [string repeat [expr {$n % 10}] 30]
    dict set content n $n
  }
  set list {}
  foreach key [lsort [dict keys $content]] { lappend list $key [dict get $content $key] }
  return $list
}

proc each_damage {nameVar bytesVar script} {
  upvar 1 $nameVar name $bytesVar bytes
  global good begin ends
  set size [string length $good]
  # A bit flipped, behind the header.
  for {set at $begin} {$at < $size} {incr at 5} {
    binary scan [string index $good $at] cu byte
    set flipped [binary format c [expr {$byte ^ (1 << ($at % 8))}]]
    set name "bit of byte $at flipped"
    set bytes [string replace $good $at $at $flipped]
    uplevel 1 $script
  }
  # The file cut off.
  for {set at $begin} {$at < $size} {incr at 41} {
    set name "cut at $at"
    set bytes [string range $good 0 $at-1]
    uplevel 1 $script
  }
  # Bytes zeroed, and zeros behind a cut.
  foreach zeroed {1 100 512} {
    for {set at $begin} {$at < $size} {incr at 97} {
      set name "$zeroed bytes zeroed at $at"
      set last [expr {min($size, $at + $zeroed) - 1}]
      set bytes [string replace $good $at $last [string repeat \0 [expr {$last - $at + 1}]]]
      uplevel 1 $script
    }
  }
  # Bytes taken out or put in.
  for {set at $begin} {$at < $size} {incr at 83} {
    set name "byte $at taken out"
    set bytes [string replace $good $at $at ""]
    uplevel 1 $script
    set name "bytes put in at $at"
    set bytes "[string range $good 0 $at-1]what\n[string range $good $at end]"
    uplevel 1 $script
  }
  # Two places at once.
  for {set at $begin} {$at + 400 < $size} {incr at 131} {
    set name "bytes $at and [expr {$at + 400}] changed"
    set bytes [string replace $good $at $at \x7f]
    set bytes [string replace $bytes $at+400 $at+400 \x7f]
    uplevel 1 $script
  }
  # Transactions missing, twice, in the wrong order.
  foreach n {1 2 6 11 12} {
    lassign [transaction_place $n] from to
    set name "transaction $n missing"
    set bytes [string range $good 0 $from-1][string range $good $to end]
    uplevel 1 $script
    set name "transaction $n twice"
    set bytes [string range $good 0 $to-1][string range $good $from end]
    uplevel 1 $script
    if {$n == 12} continue
    lassign [transaction_place [expr {$n + 1}]] next_from next_to
    set name "transactions $n and [expr {$n + 1}] swapped"
    set bytes [string range $good 0 $from-1][string range $good $to $next_to-1]
    append bytes [string range $good $from $to-1][string range $good $next_to end]
    uplevel 1 $script
  }
  # Room ahead, and something in it.
  set name "room ahead"
  set bytes $good[string repeat \0 1000]
  uplevel 1 $script
  set name "something in the room ahead"
  set bytes $good[string repeat \0 100]x[string repeat \0 100]
  uplevel 1 $script
}
