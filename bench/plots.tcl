# plots.tcl - the plots of a run, drawn by gnuplot as SVG into build/bench/plots.
#
# draw_plots draws those whose target was measured; a list of names and titles.

proc gnuplot {name title script} {
  set head "set terminal svg size 760,440 font 'sans-serif,13' background 'white'
    set output '$::out/plots/$name.svg'
    set title '$title'
    set grid lc '#dddddd'
    set key left top
    set style data linespoints
    set linetype 1 lc '#1b6ca8' pt 7 lw 2
    set linetype 2 lc '#c0392b' pt 5 lw 2
    set linetype 3 lc '#2e8b57' pt 9 lw 2
    set linetype 4 lc '#8e6fb0' pt 13 lw 2
    set linetype 5 lc '#888888' pt 3 lw 2\n"
  exec gnuplot << "$head$script" 2>@stderr
}

# A data block of gnuplot, `name` to be used as $name.
proc data_block {name lines} { return "\$$name << EOD\n[join $lines \n]\nEOD\n" }

# Each of gnuplot's lines of code by itself, for those that go on.
proc plot_lines {parts} { return "plot [join $parts ", \\\n  "]\n" }

proc draw_group_size {} {
  set lib::target T1
  set lines {}
  foreach size {1 10 50 1000} {
    foreach count $::experiment_counts {
      set rate [expr {1e9 / [median $count g$size ns]}]
      lappend points($size) $rate
    }
    lappend lines "$size [median_of $points($size)] [lindex [lsort -real $points($size)] 0] [lindex [lsort -real $points($size)] end]"
  }
  gnuplot group_size "Autocommit INSERTs by group\\_size (NORMAL, one connection)" "[data_block rates $lines]
    set logscale xy
    set xlabel 'group\\_size'
    set ylabel 'inserts/s, all of them durable at the end'
    set xrange \[0.8:1300\]
    plot \$rates using 1:2:3:4 with yerrorbars lt 1 title 'slowest and fastest of five counts', \
      \$rates using 1:2 with lines lt 1 title 'their median'"
}

proc draw_latency {} {
  set parts {}
  foreach {name title} {kvstore kvstore raw "pwrite and fdatasync alone" sqlite "SQLite WAL FULL" lmdb LMDB rocksdb "RocksDB, sync"} {
    set file [file join $::out latency.$name]
    if {[file exists $file]} {
      lappend parts "'$file' using (\$1/1000):(\$2*100) with steps lt [expr {[llength $parts] + 1}] title '$title'"
    }
  }
  gnuplot latency "Latency of a durable commit, one connection" "set logscale x
    set xlabel 'microseconds'
    set ylabel 'per cent of commits that took at most so long'
    set yrange \[0:100\]
    set key right bottom
    [plot_lines $parts]"
}

proc draw_growth {} {
  set file [file join $::out growth.dat]
  gnuplot growth_get "Point get through SQL by number of keys" "set logscale x
    set xtics ('10 k' 1e4, '100 k' 1e5, '1 M' 1e6, '10 M' 1e7)
    set xlabel 'keys'
    set ylabel 'microseconds'
    set yrange \[0:\]
    plot '$file' using 1:(\$2/1000) title 'kvstore', '' using 1:(\$3/1000) title 'SQLite in memory', \
      '' using 1:(\$4/1000) title 'SQLite file, WAL'"
  gnuplot growth_commit "Durable commit through SQL by number of keys" "set logscale x
    set xtics ('10 k' 1e4, '100 k' 1e5, '1 M' 1e6, '10 M' 1e7)
    set xlabel 'keys'
    set ylabel 'microseconds'
    set yrange \[0:\]
    plot '$file' using 1:(\$5/1000) title 'median', '' using 1:(\$6/1000) title '99th percentile'"
}

proc draw_pause {} {
  set lib::target T11
  set lines {}
  foreach outside [figures pause kvstore outside_max_ns] during [figures pause kvstore meanwhile_max_ns] {
    lappend lines "[expr {[llength $lines] + 1}] [expr {$outside / 1e6}] [expr {$during / 1e6}]"
  }
  gnuplot checkpoint_pause "Longest pause of two writers (FULL), each round" "[data_block pauses $lines]
    set style data histograms
    set style fill solid 0.8 border -1
    set yrange \[0:\]
    set ylabel 'milliseconds'
    set xlabel 'round'
    set key outside bottom
    plot \$pauses using 3:xtic(1) lt 1 title 'during a checkpoint', '' using 2 lt 5 title 'without one'"
}

# The columns are those of concurrency_plot in targets.tcl.
proc draw_concurrency {} {
  set file [file join $::out concurrency.dat]
  set kinds {kvstore "SQLite WAL FULL"}
  if {[has_program run_rocksdb]} { lappend kinds "RocksDB, sync" }
  foreach {name title column scale label} {
    concurrency_rate "Durable commits by number of connections" 2 1 "commits/s"
    concurrency_p50 "Latency of a durable commit, median" 3 1e6 milliseconds
    concurrency_p99 "Latency of a durable commit, 99th percentile" 4 1e6 milliseconds
    concurrency_flushes "Flushes per commit" 5 1 "flushes per commit"
  } {
    set parts {}
    foreach kind $kinds {
      lappend parts "'$file' using 1:(\$$column/$scale) lt [expr {[llength $parts] + 1}] title '$kind'"
      incr column 4
    }
    gnuplot $name $title "set logscale x 2
      set logscale y
      set xlabel 'connections'
      set ylabel '$label'
      [expr {$name eq "concurrency_flushes" ? "set key left bottom" : ""}]
      [plot_lines $parts]"
  }
}

proc draw_plots {} {
  if {[auto_execok gnuplot] eq ""} { say "no gnuplot here, so no plots"; return {} }
  file mkdir [file join $::out plots]
  set plots {}
  foreach {target draw names} {
    T1 draw_group_size {group_size "Inserts per second by group size"}
    T3 draw_latency {latency "Latency of durable commits"}
    T11 draw_growth {growth_get "Point get by number of keys" growth_commit "Commit by number of keys"}
    T11 draw_pause {checkpoint_pause "Longest pause during a checkpoint"}
    T12 draw_concurrency {concurrency_rate "Durable commits by connections" concurrency_p50 "Their median latency"
      concurrency_p99 "Their 99th percentile" concurrency_flushes "Flushes per commit"}
  } {
    if {$target ni $::measured} continue
    $draw
    lappend plots {*}$names
  }
  return $plots
}
