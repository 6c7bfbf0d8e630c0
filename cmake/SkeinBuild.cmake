# Flags that every Skein target shares, and the tools that make builds fast where they are installed.

find_program(SKEIN_CCACHE ccache)
if(SKEIN_CCACHE)
  # Precompiled headers need this sloppiness, else ccache misses on every file.
  set(CMAKE_CXX_COMPILER_LAUNCHER ${CMAKE_COMMAND} -E env
      CCACHE_SLOPPINESS=pch_defines,time_macros ${SKEIN_CCACHE})
endif()
find_program(SKEIN_LLD ld.lld)
if(SKEIN_LLD)
  add_link_options(-fuse-ld=lld)
endif()

add_library(skein_flags INTERFACE)
target_compile_options(skein_flags INTERFACE -Wall -Wextra -Wno-missing-field-initializers -fno-omit-frame-pointer -fpch-preprocess)
if(SKEIN_SANITIZE)
  target_compile_options(skein_flags INTERFACE -fsanitize=${SKEIN_SANITIZE} -fno-sanitize-recover=all -g1)
  # The shared library of the undefined sanitizer would report where under_sanitizer.sh does not look.
  target_link_options(skein_flags INTERFACE -fsanitize=${SKEIN_SANITIZE} -static-libubsan)
  set(SKEIN_JEMALLOC OFF)
  # Despite its name CMake puts it before all tests that are targets, also to list their cases.
  set(CMAKE_CROSSCOMPILING_EMULATOR ${CMAKE_SOURCE_DIR}/scripts/lib/under_sanitizer.sh)
endif()

# One static library per folder, its includes rooted at src/.
function(skein_library name)
  cmake_parse_arguments(ARG "" "" "SOURCES;DEPS;PRIVATE_DEPS" ${ARGN})
  add_library(${name} STATIC ${ARG_SOURCES})
  target_include_directories(${name} PUBLIC $<BUILD_INTERFACE:${CMAKE_SOURCE_DIR}/src>)
  target_link_libraries(${name} PUBLIC ${ARG_DEPS} PRIVATE $<BUILD_INTERFACE:skein_flags> ${ARG_PRIVATE_DEPS})
endfunction()

function(skein_binary name)
  cmake_parse_arguments(ARG "" "" "SOURCES;DEPS" ${ARGN})
  add_executable(${name} ${ARG_SOURCES})
  target_link_libraries(${name} PRIVATE ${ARG_DEPS} skein_flags)
  if(SKEIN_JEMALLOC)
    find_library(SKEIN_JEMALLOC_LIB jemalloc)
    if(SKEIN_JEMALLOC_LIB)
      target_link_libraries(${name} PRIVATE ${SKEIN_JEMALLOC_LIB})
    endif()
  endif()
endfunction()

# How long a test may take that takes `seconds` without sanitizers.
function(skein_test_timeout variable seconds)
  if(SKEIN_SANITIZE)
    math(EXPR seconds "${seconds} * 5")
  endif()
  set(${variable} ${seconds} PARENT_SCOPE)
endfunction()

# A GoogleTest binary; LABELS choose when scripts/test.sh runs it, TIMEOUT is per test, in seconds.
function(skein_test name)
  cmake_parse_arguments(ARG "" "TIMEOUT" "SOURCES;DEPS;LABELS" ${ARGN})
  if(NOT ARG_TIMEOUT)
    set(ARG_TIMEOUT 60)
  endif()
  skein_test_timeout(ARG_TIMEOUT ${ARG_TIMEOUT})
  add_executable(${name} ${ARG_SOURCES})
  target_include_directories(${name} PRIVATE ${CMAKE_SOURCE_DIR})
  target_link_libraries(${name} PRIVATE ${ARG_DEPS} skein_flags GTest::gtest GTest::gtest_main)
  gtest_discover_tests(${name} DISCOVERY_TIMEOUT 60
    PROPERTIES TIMEOUT ${ARG_TIMEOUT} LABELS "${ARG_LABELS}")
endfunction()
