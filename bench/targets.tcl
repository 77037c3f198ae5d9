# targets.tcl - what is measured for each target, and what is wanted of it.
#
# A target is a procedure. lib.tcl tells how subjects are measured, report.tcl what makes a row of the
# table. With each round the subjects come in turn; a figure of the table is a median of the rounds.

proc count_text {n} {
  if {$n >= 1000000} { return "[expr {$n / 1000000}] M" }
  if {$n >= 1000} { return "[expr {$n / 1000}] k" }
  return $n
}

set experiment [list {*}[sql experiment_kvstore] --shape grid --load 0]

proc experiment {name synchronous group_size args} {
  subject $name $::experiment --set synchronous=$synchronous --set group_size=$group_size {*}$args
}

# --- group commit ---------------------------------------------------------------------------------

# The original experiment. Here all inserts of a count are on stable storage when its clock stops.
proc T1 {} {
  set sizes {1 10 50 1000}
  set counts [size {500 1000 2000 4000 8000} {100 200 400 800 1600} {10 20 30 40 50}]
  set ::experiment_counts $counts
  set names [lmap size $sizes { experiment g$size NORMAL $size; string cat g$size }]
  for {set i 1} {$i <= [rounds]} {incr i} {
    foreach count $counts {
      foreach name $names { ask $name "insert_all count=$count" $count $i }
    }
  }
  dismiss $names

  foreach size $sizes {
    foreach count $counts {
      set ns [median $count g$size ns]
      set ratio [expr {[median $count g1 ns] / $ns}]
      lappend ::experiment_report [list $size $count [grouped [expr {1e9 / $ns}]] "[ratio_text $ratio] x"]
    }
    set total($size) [total_rate g$size $counts]
  }
  foreach size {10 50 1000} wanted {10 50 200} {
    more "experiment, NORMAL, group_size $size, five counts" $total($size) $total(1) rate "group_size 1" $wanted
  }
}

# Inserts per second over all counts, from the median of each.
proc total_rate {name counts} {
  set seconds 0
  foreach count $counts { set seconds [expr {$seconds + $count * [median $count $name ns] / 1e9}] }
  return [expr {[tcl::mathop::+ {*}$counts] / $seconds}]
}

proc T2 {} {
  set seconds [size 1 0.3 0.02]
  set connections [size {20 100} {20 100} {4 8}]
  experiment c1 FULL 1
  subject raw1 run_raw
  foreach n $connections {
    experiment c$n FULL [expr {$n / 2}] --threads $n
    subject raw$n run_raw --threads $n
  }
  set names [concat [lmap n [concat 1 $connections] { string cat c$n }] [lmap n [concat 1 $connections] { string cat raw$n }]]
  in_turn [rounds 7] "insert seconds=$seconds latency=1" $names
  dismiss $names
  foreach n $connections wanted {6 12} {
    more "experiment, FULL, $n connections, group_size [expr {$n / 2}]" [median insert c$n rate] \
      [median insert c1 rate] rate "1 connection" $wanted
    more "  the same in a bare loop of threads that group pwrite and fdatasync" [median insert raw$n rate] \
      [median insert raw1 rate] rate "1 thread" ""
  }
}

# --- single commits -------------------------------------------------------------------------------

proc T3 {} {
  set seconds [size 0.4 0.2 0.02]
  experiment kvstore FULL 1
  set before [ask kvstore "insert count=50" warm]
  set after [ask kvstore "insert count=100" warm]
  set bytes [expr {([dict get $after written_bytes] - [dict get $before written_bytes]) / 100}]
  subject raw run_raw --set bytes=$bytes
  subject sqlite [sql experiment_sqlite_full] --shape grid --load 0
  set names {kvstore raw sqlite}
  if {[has_program run_lmdb]} { subject lmdb run_lmdb --shape grid --load 0; lappend names lmdb }
  if {[has_program run_rocksdb]} { subject rocksdb run_rocksdb --shape grid --load 0; lappend names rocksdb }
  in_turn [rounds 15] "insert seconds=$seconds latency=1" $names
  foreach name $names { ask $name "insert seconds=[size 3 0.5 0.02] histogram=$::out/latency.$name" histogram }
  dismiss $names
  set ours [median insert kvstore ns]
  at_most "one durable autocommit INSERT (FULL)" $ours [median insert raw ns] ns "pwrite+fdatasync of $bytes bytes" 1.15
  faster "one durable autocommit INSERT (FULL)" $ours [median insert sqlite ns] ns "SQLite WAL FULL" 1.0
  foreach peer {lmdb rocksdb} title {LMDB "RocksDB, sync"} {
    if {$peer in $names} {
      faster "  the same, without SQL there" $ours [median insert $peer ns] ns $title ""
    } else {
      absent "  the same, without SQL there" $title -
    }
  }
}

proc T4 {} {
  experiment kvstore NORMAL 50
  experiment off OFF 50
  subject sqlite [sql experiment_sqlite_normal] --shape grid --load 0
  in_turn [rounds 9] "insert seconds=[size 0.5 0.3 0.02]" {kvstore sqlite off}
  dismiss {kvstore sqlite off}
  faster "autocommit INSERT, NORMAL" [median insert kvstore ns] [median insert sqlite ns] ns "SQLite WAL NORMAL" 6
  faster "  the same, OFF" [median insert off ns] [median insert sqlite ns] ns "SQLite WAL NORMAL" ""
}

# --- reading --------------------------------------------------------------------------------------

# T5 and T6 read the same tables, which are filled once if both are asked for.
proc open_tables {} {
  if {[info exists ::table_keys]} return
  subject floor [sql table_floor] --set rows=[size 1000000 200000 1000]
  set ::table_keys [size 1000000 200000 1000]
  foreach {name file} {kvstore table_kvstore memory table_sqlite_memory file table_sqlite_file} {
    say "filling $name with [count_text $::table_keys] keys"
    subject $name [sql $file] --keys $::table_keys
  }
  ask file "checkpoint count=1"
}

proc T5 {} {
  open_tables
  set keys $::table_keys
  set names {kvstore memory file floor}
  if {[has_program run_lmdb]} { subject lmdb run_lmdb --keys $keys; lappend names lmdb }
  in_turn [rounds 7] "get count=[size 1000000 100000 1000]" $names
  foreach name {kvstore memory file} {
    if {[median get $name rows] != [size 1000000 100000 1000]} { error "$name did not find its keys" }
  }
  dismiss [lrange $names 4 end]
  set what "point get through SQL, [count_text $keys] keys"
  set ours [median get kvstore ns]
  faster $what $ours [median get memory ns] ns "SQLite in memory" 2
  faster $what $ours [median get file ns] ns "SQLite file, WAL" 3
  at_most $what $ours [median get floor ns] ns "empty virtual table" 2
  if {"lmdb" in $names} {
    faster "  the same, without SQL there" $ours [median get lmdb ns] ns LMDB ""
  } else {
    absent "  the same, without SQL there" LMDB -
  }
}

proc T6 {} {
  open_tables
  set keys $::table_keys
  in_turn [rounds] "scan count=1" {kvstore memory file floor}
  in_turn [rounds] "sum count=1" {kvstore memory file}
  in_turn [rounds] "subtree count=[size 20000 5000 20]" {kvstore memory file floor}
  foreach {case what} {scan "full scan, [count_text $keys] rows, a row" sum "  the same as a sum over all rows, a row"} {
    foreach name {kvstore memory file} { set row($name) [expr {[median $case $name ns] / $keys}] }
    set what [subst $what]
    set wanted [expr {$case eq "scan" ? 1.3 : ""}]
    at_most $what $row(kvstore) $row(memory) ns "SQLite in memory" $wanted
    at_most $what $row(kvstore) $row(file) ns "SQLite file, WAL" $wanted
  }
  at_most "  full scan of an empty virtual table, a row" [expr {[median scan floor ns] / $keys}] \
    [expr {[median scan memory ns] / $keys}] ns "SQLite in memory" ""
  faster "a subtree of 100 rows" [median subtree kvstore ns] [median subtree memory ns] ns "SQLite in memory, range" 1.0
  faster "a subtree of 100 rows" [median subtree kvstore ns] [median subtree file ns] ns "SQLite file, range" 1.0
  faster "  100 rows of an empty virtual table" [median subtree floor ns] [median subtree memory ns] ns "SQLite in memory, range" ""

  set nodes [size 1000000 200000 1000]
  subject children [sql children] --set nodes=$nodes
  foreach i [lsearch -all [lrepeat [rounds] x] x] {
    foreach case {narrow wide flat} { ask children "$case count=[size 20000 5000 20]" $case $i }
  }
  dismiss children
  at_most "10 direct children, [count_text $nodes] nodes below them" [median wide children ns] \
    [median narrow children ns] ns "none below them" 1.5
  at_most "the first 10 of [count_text $nodes] direct children" [median flat children ns] \
    [median narrow children ns] ns "of 10" 1.5
}

proc close_tables {} {
  if {[info exists ::table_keys]} { dismiss {kvstore memory file floor}; unset ::table_keys }
}

# --- many at once ---------------------------------------------------------------------------------

proc T7 {} {
  set keys [size 1000000 200000 1000]
  foreach {order what} {each "random order" sorted "in order"} {
    for {set i 1} {$i <= [rounds]} {incr i} {
      foreach {name file} {kvstore load_kvstore sqlite load_sqlite} {
        subject $name [sql $file] --keys $keys --load 0
        ask $name "insert count=$keys order=$order" $order $i
        dismiss $name
      }
    }
    faster "[count_text $keys] INSERTs in one transaction, $what" [median $order kvstore ns] \
      [median $order sqlite ns] ns "SQLite WAL" 1.5
  }
}

# --- opening, memory ------------------------------------------------------------------------------

# The same entries in two logs, one commit for each or a few large ones, and in redis-server.
proc T8 {} { opening_and_memory; foreach row $::opening_rows { {*}$row } }
proc T9 {} { opening_and_memory; foreach row $::memory_rows { {*}$row } }

proc opening_and_memory {} {
  if {[info exists ::opening_rows]} return
  set keys [size 1000000 200000 1000]
  set lib::target T8
  set single [subject_folder single [list {*}[sql experiment_kvstore] --set synchronous=OFF --set group_size=1 \
    --keys $keys --load 0] "insert count=$keys order=each"]
  set batched [subject_folder batched [list {*}[sql table_kvstore] --keys $keys] ""]
  set sorted [subject_folder sorted [list {*}[sql table_kvstore] --keys $keys] "checkpoint count=1"]
  set redis [expr {[has_redis] ? [redis_folder $keys] : ""}]
  for {set i 1} {$i <= [rounds]} {incr i} {
    open_log single $single $i
    open_log batched $batched $i
    open_log sorted $sorted $i
    if {$redis ne ""} { open_redis $redis $i }
  }
  file delete -force {*}$single {*}$batched {*}$sorted {*}$redis
  set ::opening_rows [opening_rows $keys]
  set ::memory_rows [memory_rows $keys]
}

proc subject_folder {name command round} {
  subject $name $command
  if {$round ne ""} { ask $name $round fill }
  set folder [folder_of $name]
  dismiss $name 1
  return $folder
}

proc open_log {name folder round} {
  set figures [subject opened-$name [sql open_kvstore] -folder $folder --load 0]
  note open $name $round $figures
  dismiss opened-$name 1
}

proc redis_folder {keys} {
  set folder [fresh_folder redis]
  redis_start $folder
  set empty [redis_memory]
  redis_load $keys
  note memory redis 0 [list used_memory [expr {[redis_memory] - $empty}]]
  redis_stop
  return $folder
}

proc open_redis {folder round} {
  file delete [file join $folder redis.log]
  set log [redis_start $folder]
  if {![regexp {DB loaded from append only file: ([\d.]+) seconds} $log -> seconds]} {
    error "redis-server does not say how long it loaded:\n$log"
  }
  note open redis $round [list seconds $seconds]
  redis_stop
}

proc opening_rows {keys} {
  set ours [expr {$keys / [median open single setup_s]}]
  set many [expr {$keys / [median open batched setup_s]}]
  set sorted [expr {$keys / [median open sorted setup_s]}]
  set what "opening a log of [count_text $keys] records"
  set rows [list [list limit "$what, a commit each" $ours rate 2000000 least]]
  if {[has_figures open redis seconds]} {
    set theirs [expr {$keys / max([median open redis seconds], 0.001)}]
    lappend rows [list more "$what, a commit each" $ours $theirs rate "redis-server, AOF" 2]
    lappend rows [list more "  the same, 100,000 to a commit" $many $theirs rate "redis-server, AOF" ""]
    lappend rows [list more "  the same, written by a checkpoint" $sorted $theirs rate "redis-server, AOF" ""]
  } else {
    lappend rows [list absent "$what, a commit each" redis-server ">= 2 x"]
  }
  return $rows
}

# What the process grew by when it opened the log, less the entries' own 16 and 6 bytes.
proc memory_rows {keys} {
  set ours [expr {[median open single rss_setup_kb] * 1024.0 / $keys - 22}]
  set rows [list [list limit "memory for an entry beyond its 22 bytes, [count_text $keys] entries" $ours bytes 55]]
  if {[has_figures memory redis used_memory]} {
    set theirs [expr {[median memory redis used_memory] / double($keys) - 22}]
    lappend rows [list at_most "memory for an entry beyond its 22 bytes" $ours $theirs bytes redis-server 0.5]
  } else {
    lappend rows [list absent "memory for an entry beyond its 22 bytes" redis-server "<= 0.5 x"]
  }
  lappend rows [list at_most "  the same after filling it in transactions of 100,000" \
    [expr {[median start batched rss_load_kb] * 1024.0 / $keys - 22}] $ours bytes "after opening" ""]
  return $rows
}

# --- the server -----------------------------------------------------------------------------------

proc T10 {} {
  if {![has_redis] || [auto_execok redis-benchmark] eq ""} {
    absent "SET and GET of 50 clients, -P 1 and 16" redis-server ">= 1.2 x, >= 1.0 x"
    return
  }
  set csv [file join $::out server.csv]
  exec env DIR=[fresh_folder server] OUT=$csv ROUNDS=[rounds] QUICK=[size "" 1 1] REQUESTS=[size "" 20000 500] \
    [file join $::top bench server.sh] 2>@stderr
  set channel [open $csv]
  gets $channel
  while {[gets $channel line] >= 0} {
    lassign [split $line ,] round server test pipeline rate
    note "$test-$pipeline" $server $round [list rate $rate]
  }
  close $channel
  foreach {test wanted} {set 1.2 get 1.0} {
    foreach {pipeline how} {1 "" 16 ", -P 16"} {
      set case $test-$pipeline
      more "server, 50 clients, every SET durable: [string toupper $test]$how" [median $case kvstore rate] \
        [median $case redis rate] rate redis-server $wanted
    }
  }
}

# --- how cost grows -------------------------------------------------------------------------------

proc T11 {} {
  growth_with_keys
  checkpoint_pause
}

proc growth_with_keys {} {
  set sizes [size {10000 100000 1000000 10000000} {10000 100000 1000000} {100 1000}]
  set files {kvstore table_kvstore memory table_sqlite_memory file table_sqlite_file}
  set names {}
  foreach keys $sizes {
    foreach {name file} $files {
      say "filling $name with [count_text $keys] keys"
      subject $name$keys [sql $file] --keys $keys
      if {$name eq "file"} { ask file$keys "checkpoint count=1" }
      lappend names $name$keys
    }
  }
  in_turn [rounds] "get count=[size 1000000 50000 100]" $names
  set writers [lsearch -all -inline -glob $names kvstore*]
  in_turn [rounds 9] "insert seconds=[size 0.5 0.15 0.02] latency=1" $writers
  dismiss $names
  growth_plot $sizes
  growth_rows [lindex $sizes 0] [lindex $sizes end]
}

proc growth_plot {sizes} {
  set out [open $::out/growth.dat w]
  puts $out "# keys, ns of a get: kvstore, SQLite in memory, SQLite file; ns of a commit: p50, p99"
  foreach keys $sizes {
    puts $out [concat $keys [lmap name {kvstore memory file} { median get $name$keys ns }] \
      [median insert kvstore$keys p50_ns] [median insert kvstore$keys p99_ns]]
  }
  close $out
}

proc growth_rows {few many} {
  foreach name {kvstore memory file} {
    set growth($name) [expr {[median get $name$many ns] / [median get $name$few ns]}]
  }
  at_most "point get through SQL, [count_text $many] keys" [median get kvstore$many ns] [median get kvstore$few ns] ns \
    "[count_text $few] keys" 3
  foreach {name title} {memory "SQLite in memory" file "SQLite file, WAL"} {
    add_row "growth of a get from [count_text $few] to [count_text $many] keys" "[ratio_text $growth(kvstore)] x" \
      "$title [ratio_text $growth($name)] x" "[ratio_text [expr {$growth(kvstore) / $growth($name)}]] x" "< 1 x" \
      [verdict [expr {$growth(kvstore) < $growth($name)}]]
  }
  at_most "durable commit (median), [count_text $many] keys" [median insert kvstore$many p50_ns] \
    [median insert kvstore$few p50_ns] ns "[count_text $few] keys" 1.2
}

# A checkpoint of a large log while two connections commit.
proc checkpoint_pause {} {
  set keys [size 1000000 200000 1000]
  subject kvstore [sql table_kvstore] --keys $keys --value-size 1000 --threads 2
  set round "insert seconds=[size 6 1 0.1] meanwhile=checkpoint"
  for {set i 1} {$i <= [rounds]} {incr i} {
    set figures [ask kvstore $round pause $i]
    say [format "checkpoint: %.2f s, longest pause %s, without one %s" [dict get $figures meanwhile_s] \
      [in_unit [dict get $figures meanwhile_max_ns] ns] [in_unit [dict get $figures outside_max_ns] ns]]
  }
  set mega [format %.0f [expr {[median start kvstore log_bytes] / 1e6}]]
  dismiss kvstore
  limit "longest pause of 2 writers (FULL) during a checkpoint of $mega MB" [median pause kvstore meanwhile_max_ns] ns 20e6
  at_most "  the same" [median pause kvstore meanwhile_max_ns] [median pause kvstore outside_max_ns] ns \
    "without a checkpoint" ""
}

# --- how throughput grows -------------------------------------------------------------------------

proc T12 {} {
  set connections [size {1 2 4 8 16 32 64 128 256} {1 2 4 8 16 32 64} {1 2 4}]
  set kinds {kvstore sqlite}
  if {[has_program run_rocksdb]} { lappend kinds rocksdb }
  foreach n $connections {
    say "$n connections"
    experiment kvstore$n FULL 1 --threads $n
    subject sqlite$n [sql experiment_sqlite_full] --shape grid --load 0 --threads $n
    if {"rocksdb" in $kinds} { subject rocksdb$n run_rocksdb --shape grid --load 0 --threads $n }
    set names [lmap kind $kinds { string cat $kind$n }]
    in_turn [rounds] "insert seconds=[size 0.6 0.12 0.02] latency=1" $names
    dismiss $names
  }
  concurrency_plot $connections $kinds
  concurrency_rows $connections $kinds
}

proc flushes_per_commit {name} {
  return [median_of [lmap flushes [figures insert $name flushes] ops [figures insert $name ops] {
    expr {double($flushes) / max($ops, 1)}
  }]]
}

proc concurrency_plot {connections kinds} {
  set out [open $::out/concurrency.dat w]
  puts $out "# connections, for each of $kinds: commits/s, p50 ns, p99 ns, flushes per commit"
  foreach n $connections {
    set line $n
    foreach kind $kinds {
      lappend line {*}[lmap figure {rate p50_ns p99_ns} { median insert $kind$n $figure }] \
        [flushes_per_commit $kind$n]
    }
    puts $out $line
  }
  close $out
}

# Rising: no point lies more than a tenth below the best one of fewer connections.
proc concurrency_rows {connections kinds} {
  set best 0
  set worst 10
  foreach n $connections {
    set rate [median insert kvstore$n rate]
    if {$best > 0} { set worst [expr {min($worst, $rate / $best)}] }
    set best [expr {max($best, $rate)}]
  }
  set most [lindex $connections end]
  add_row "durable commits, 1 to $most connections: the curve rises" "[grouped [median insert kvstore1 rate]] to\
    [grouped [median insert kvstore$most rate]]/s" "its best point [grouped $best]/s" "[ratio_text $worst] x" \
    ">= 0.90 x of any before" [verdict [expr {[ratio_text $worst] >= 0.9}]]
  foreach n [lsearch -all -inline -regexp $connections {^(1|8|64|256)$}] {
    set what "  $n connections, [format %.2f [flushes_per_commit kvstore$n]] flushes a commit,\
      p99 [in_unit [median insert kvstore$n p99_ns] ns]"
    foreach kind [lrange $kinds 1 end] {
      set title [dict get {sqlite "SQLite WAL FULL" rocksdb "RocksDB, sync"} $kind]
      more $what [median insert kvstore$n rate] [median insert $kind$n rate] rate \
        "$title ([format %.2f [flushes_per_commit $kind$n]], [in_unit [median insert $kind$n p99_ns] ns])" ""
    }
  }
  if {"rocksdb" ni $kinds} { absent "durable commits of many connections" RocksDB - }
}
