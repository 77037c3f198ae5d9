# head.tcl - where and with what it was measured: lines of a name and a text.

proc first_line {args} {
  if {[catch {exec {*}$args 2>/dev/null} text]} { return "" }
  return [lindex [split $text \n] 0]
}

proc file_line {path pattern} {
  if {[catch {open $path} channel]} { return "" }
  set text [read $channel]
  close $channel
  return [expr {[regexp -line $pattern $text -> found] ? [string trim $found] : ""}]
}

proc package_version {name} {
  set version [first_line dpkg-query -W -f {${Version}} $name]
  return [expr {$version eq "" ? "not here" : $version}]
}

# A flush of a small record in allocated space, median and 99th percentile.
proc fdatasync_cost {} {
  set lib::target head
  subject raw run_raw
  set figures [ask raw "insert seconds=[size 2 0.5 0.05] latency=1" fdatasync]
  dismiss raw
  return "median [in_unit [dict get $figures p50_ns] ns], p99 [in_unit [dict get $figures p99_ns] ns]"
}

proc head_lines {} {
  set memory [expr {[file_line /proc/meminfo {^MemTotal: *(\d+)}] / 1048576.0}]
  return [list \
    date [clock format [clock seconds] -format "%Y-%m-%d %H:%M UTC" -gmt 1] \
    machine "[file_line /proc/cpuinfo {^model name\s*: *(.*)$}], [first_line nproc] processors, [format %.0f $memory] GB" \
    kernel [first_line uname -sr] \
    "file system" "[regsub -all { +} [first_line findmnt -no FSTYPE,SOURCE,OPTIONS -T $::folder] { }]" \
    fdatasync [fdatasync_cost] \
    versions "kvstore [file_line [file join $::top VERSION] {^(.*)$}] ([first_line git -C $::top rev-parse --short HEAD]),\
      SQLite [first_line sqlite3 -batch :memory: {SELECT sqlite_version()}],\
      LMDB [package_version liblmdb0], RocksDB [package_version librocksdb-dev],\
      redis-server [package_version redis-server], [first_line cc --version]" \
    command "make bench[expr {$::mode eq "quick" ? " QUICK=1" : ""}][expr {$::only eq "" ? "" : " ONLY='$::only'"}]" \
    sizes [size "as the targets say" "QUICK=1: smaller, as the rows say; 3 rounds" "tiny: these figures mean nothing"]]
}
