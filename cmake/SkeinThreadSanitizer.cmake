# What the thread sanitizer must be told of libraries that are built without it. Only the tsan preset
# includes this.

# Puts a copy of a header of the installed gRPC before it, in which each string is followed by its
# replacement: skein_patch_header(NAME [BEFORE AFTER]...)
set(SKEIN_PATCHED_HEADERS ${CMAKE_BINARY_DIR}/tsan_headers)
function(skein_patch_header name)
  find_path(folder ${name} NO_CACHE REQUIRED)
  file(READ ${folder}/${name} text)
  set(i 1)
  while(i LESS ARGC)
    set(before "${ARGV${i}}")
    math(EXPR i "${i} + 1")
    set(after "${ARGV${i}}")
    math(EXPR i "${i} + 1")
    string(FIND "${text}" "${before}" position)
    if(position EQUAL -1)
      message(FATAL_ERROR "${folder}/${name} is not the one this was made for: no '${before}'")
    endif()
    string(REPLACE "${before}" "${after}" text "${text}")
  endwhile()
  file(CONFIGURE OUTPUT ${SKEIN_PATCHED_HEADERS}/${name}
       CONTENT "#include <sanitizer/tsan_interface.h>\n${text}" @ONLY)
endfunction()

# The edge from who starts an operation (cmake/tsan/grpc.cc) to who is told of its end. gRPC passes it on
# by atomics of its library, but ends in code of its headers, which is compiled with the sanitizer.
skein_patch_header(grpcpp/impl/call_op_set.h
  "  bool FinalizeResult(void** tag, bool* status) override {"
  "  bool FinalizeResult(void** tag, bool* status) override {
    __tsan_acquire(this);")
skein_patch_header(grpcpp/support/callback_common.h
  "    void* ignored = ops_;"
  "    __tsan_acquire(this);
    void* ignored = ops_;")

# The same for a server's calls: from all that was done for a call to the one who is told of its end.
skein_patch_header(grpcpp/support/server_callback.h
  "  void MaybeDone() {"
  "  void MaybeDone() {
    __tsan_release(this);"
  "  void MaybeDone(bool inline_ondone) {"
  "  void MaybeDone(bool inline_ondone) {
    __tsan_release(this);")
skein_patch_header(grpcpp/impl/codegen/server_callback_handlers.h
  "    void CallOnDone() override {"
  "    void CallOnDone() override {
      __tsan_acquire(this);")

# A copy of RocksDB's archive that calls the functions of cmake/tsan/rocksdb.cc, and whose templates
# and inline functions are its own: the linker would give it ours, which are watched.
set(make_copy ${CMAKE_SOURCE_DIR}/cmake/tsan/unwatched_archive.sh)
set(unwatched ${CMAKE_SOURCE_DIR}/cmake/tsan/rocksdb.cc)
set(copy ${CMAKE_BINARY_DIR}/librocksdb_unwatched.a)
get_target_property(archive RocksDB::rocksdb IMPORTED_LOCATION_NONE)
execute_process(COMMAND ${make_copy} ${archive} ${unwatched} ${copy} COMMAND_ERROR_IS_FATAL ANY)
set_target_properties(RocksDB::rocksdb PROPERTIES IMPORTED_LOCATION_NONE ${copy})
set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${make_copy} ${unwatched})

# Stands before the libraries in every binary.
add_library(skein_tsan_edges SHARED
  ${CMAKE_SOURCE_DIR}/cmake/tsan/absl.cc ${CMAKE_SOURCE_DIR}/cmake/tsan/grpc.cc
  ${CMAKE_SOURCE_DIR}/cmake/tsan/rocksdb.cc)
target_link_libraries(skein_tsan_edges PRIVATE absl::status absl::synchronization gRPC::grpc++)
link_libraries($<BUILD_INTERFACE:skein_tsan_edges>)

include_directories(BEFORE SYSTEM ${SKEIN_PATCHED_HEADERS})
add_compile_options(-fsanitize=thread)
add_link_options(-fsanitize=thread
  # Else the libraries call our copies of std::string's functions, which are not passed over.
  -Wl,--version-script=${CMAKE_SOURCE_DIR}/cmake/tsan/not_exported.map)
