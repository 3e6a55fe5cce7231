# ness_library(NAME PUBLIC targets.. PRIVATE targets.. PRECOMPILED headers..): the shared library of the folder this is called in, target ness_NAME,
# alias and export ness::NAME, from src/*.cpp and the headers under include/ness/NAME. Shared, since a static library with a
# private HDF5 would ask its users for HDF5.
function(ness_library name)
  cmake_parse_arguments(arg "" "" "SOURCES;HEADERS;PUBLIC;PRIVATE;PRECOMPILED" ${ARGN})
  add_library(ness_${name} SHARED ${arg_SOURCES})
  add_library(ness::${name} ALIAS ness_${name})
  set_target_properties(ness_${name} PROPERTIES EXPORT_NAME ${name} VERSION ${PROJECT_VERSION} SOVERSION ${PROJECT_VERSION_MAJOR}
    VERIFY_INTERFACE_HEADER_SETS ON)
  target_compile_features(ness_${name} PUBLIC cxx_std_20)
  # -Wno-restrict: false alarms of g++ 12 on string concatenation (GCC bug 105329).
  # -Wno-stringop-overflow, -Wno-use-after-free: false alarms inside system headers, which it does not know as such once they are precompiled.
  # -ffp-contract=off: a*b+c rounds the same whichever way the compiler inlines it; vector code says where it fuses.
  target_compile_options(ness_${name} PRIVATE -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wno-sign-conversion -Wno-restrict -Wno-stringop-overflow -Wno-use-after-free
    -ffp-contract=off)
  target_sources(ness_${name} PUBLIC FILE_SET HEADERS BASE_DIRS include FILES ${arg_HEADERS})
  target_include_directories(ness_${name} PRIVATE src)
  target_precompile_headers(ness_${name} PRIVATE ${arg_PRECOMPILED})
  target_link_libraries(ness_${name} PUBLIC ${arg_PUBLIC} PRIVATE ${arg_PRIVATE})
  install(TARGETS ness_${name} EXPORT ness-targets LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR}
    FILE_SET HEADERS DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
endfunction()
