"""An MP4 that is made without its packets: what is copied stays where it lies, and only what is new is written.

    tickets   stand for the packets that may stay where they are
    moov      sample tables read, and written again for packets that lie elsewhere
    join      a file of tickets becomes a layout: the bytes of a new file, and ranges of the sources
    layout    what such an output is made of, and a view of it that reads like the file it will be

libavformat writes the file of tickets as it writes any other, so everything that a track is besides its packets' places (times, edit
lists, sample descriptions, names, chapters) comes from the one muxer.
"""
