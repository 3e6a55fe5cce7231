# ness_room(NAME [FOLDER folder] [PUBLIC targets..] [PRIVATE targets..] [PRECOMPILED] [INTERNAL])
#
# A room of the house: the library of all sources below FOLDER (by default NAME), with its public headers
# under FOLDER/include/ness/NAME. Target ness_NAME, alias and export ness::NAME. Private headers are included
# by their path from the room. PRECOMPILED: its sources read the header that all rooms share. INTERNAL: static
# and not installed, for the command and the tests.
# BUILD_SHARED_LIBS decides between shared and static, as everywhere in CMake.
function(ness_room name)
  cmake_parse_arguments(arg "INTERNAL;PRECOMPILED" "FOLDER" "PUBLIC;PRIVATE" ${ARGN})
  if(NOT arg_FOLDER)
    set(arg_FOLDER ${name})
  endif()
  file(GLOB_RECURSE headers CONFIGURE_DEPENDS ${arg_FOLDER}/include/*.hpp)
  file(GLOB_RECURSE sources CONFIGURE_DEPENDS ${arg_FOLDER}/*.cpp)
  set(kind)
  if(arg_INTERNAL)
    set(kind STATIC)
  endif()
  add_library(ness_${name} ${kind} ${sources})
  add_library(ness::${name} ALIAS ness_${name})
  set_target_properties(ness_${name} PROPERTIES
    EXPORT_NAME ${name}
    VERSION ${PROJECT_VERSION}
    SOVERSION ${PROJECT_VERSION_MAJOR}
    VERIFY_INTERFACE_HEADER_SETS ON)
  target_compile_features(ness_${name} PUBLIC cxx_std_20)
  target_compile_options(ness_${name} PRIVATE ${ness_warnings} ${ness_arithmetic})
  target_sources(ness_${name} PUBLIC FILE_SET HEADERS BASE_DIRS ${arg_FOLDER}/include FILES ${headers})
  target_include_directories(ness_${name} PRIVATE ${arg_FOLDER})
  if(arg_PRECOMPILED)
    target_precompile_headers(ness_${name} REUSE_FROM ness_precompiled)
  endif()
  target_link_libraries(ness_${name} PUBLIC ${arg_PUBLIC} PRIVATE ${arg_PRIVATE})
  if(NOT arg_INTERNAL)
    install(TARGETS ness_${name} EXPORT ness-targets
      LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR}
      ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR}
      FILE_SET HEADERS DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
  endif()
endfunction()
