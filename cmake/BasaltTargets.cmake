# The three kinds of target in this tree, and the walls between its rooms.
#
#   basalt_room(NAME SOURCES … LINK …)       a static library basalt_NAME
#   basalt_program(NAME SOURCES … LINK …)    a program, lands in build/<preset>/bin
#   basalt_test(NAME SOURCES … LINK …)       a GoogleTest program, run by ctest
#
# BASALT_HEIGHT_<room> says at which height a room stands; linking upwards fails to configure.

find_package(PkgConfig REQUIRED)
find_package(Threads REQUIRED)
pkg_check_modules(URING REQUIRED IMPORTED_TARGET liburing)
pkg_check_modules(HWLOC REQUIRED IMPORTED_TARGET hwloc)

set(BASALT_HEIGHT_reactor 0)
set(BASALT_HEIGHT_rpc 1)
set(BASALT_HEIGHT_bdev 1)
set(BASALT_HEIGHT_keyring 1)
set(BASALT_HEIGHT_nvmf 2)
set(BASALT_HEIGHT_replication 2)
set(BASALT_HEIGHT_control 3)
set(BASALT_HEIGHT_perf 4)

# Compiler flags that every target of ours has. -Werror comes from the presets.
add_library(basalt_flags INTERFACE)
target_include_directories(basalt_flags INTERFACE ${CMAKE_SOURCE_DIR})
target_compile_options(basalt_flags INTERFACE
  -Wall -Wextra -Wpedantic -Wconversion -Wsign-conversion -Wshadow -Wold-style-cast -Wcast-align
  -Wnon-virtual-dtor -Wswitch-enum
  $<$<CXX_COMPILER_ID:GNU>:-Wduplicated-cond> $<$<CXX_COMPILER_ID:GNU>:-Wlogical-op>
  -fno-omit-frame-pointer)

# What the dataplane rooms add: an error is a value there, and running out of memory aborts. The
# warning is theirs alone, for with exceptions on GCC 12 finds null pointers in libstdc++ itself.
# Frame pointers cost 8 % of a read's instructions: released code has none there; `perf record
# --call-graph dwarf` finds its way by -g1.
add_library(basalt_dataplane_flags INTERFACE)
target_compile_options(basalt_dataplane_flags INTERFACE
  -fno-exceptions -fno-rtti -Wnull-dereference $<$<CONFIG:Release>:-fomit-frame-pointer>)

# Checks that `room` does not link a room that stands as high as it or higher.
function(basalt_check_walls room)
  string(REGEX REPLACE "_.*" "" base ${room})
  foreach(dependency ${ARGN})
    if(dependency MATCHES "^basalt_([a-z]+)")
      set(other ${CMAKE_MATCH_1})
      if(DEFINED BASALT_HEIGHT_${other} AND NOT other STREQUAL base
         AND NOT BASALT_HEIGHT_${other} LESS BASALT_HEIGHT_${base})
        message(FATAL_ERROR "room '${room}' links '${dependency}': dependencies run one way only")
      endif()
    endif()
  endforeach()
endfunction()

function(basalt_room name)
  cmake_parse_arguments(ARG "DATAPLANE" "" "SOURCES;LINK;PRIVATE_LINK" ${ARGN})
  basalt_check_walls(${name} ${ARG_LINK} ${ARG_PRIVATE_LINK})
  add_library(basalt_${name} STATIC ${ARG_SOURCES})
  target_link_libraries(basalt_${name} PUBLIC basalt_flags Threads::Threads ${ARG_LINK}
                                       PRIVATE ${ARG_PRIVATE_LINK})
  if(ARG_DATAPLANE)
    target_link_libraries(basalt_${name} PRIVATE basalt_dataplane_flags)
  endif()
endfunction()

function(basalt_program name)
  cmake_parse_arguments(ARG "" "" "SOURCES;LINK" ${ARGN})
  add_executable(${name} ${ARG_SOURCES})
  target_link_libraries(${name} PRIVATE basalt_flags ${ARG_LINK})
endfunction()

find_package(GTest REQUIRED)
include(GoogleTest)
function(basalt_test name)
  cmake_parse_arguments(ARG "" "TIMEOUT" "SOURCES;LINK" ${ARGN})
  if(NOT ARG_TIMEOUT)
    set(ARG_TIMEOUT 120)
  endif()
  add_executable(${name} ${ARG_SOURCES})
  target_link_libraries(${name} PRIVATE basalt_flags ${ARG_LINK} GTest::gtest GTest::gtest_main)
  gtest_discover_tests(${name} DISCOVERY_MODE PRE_TEST PROPERTIES TIMEOUT ${ARG_TIMEOUT})
endfunction()
