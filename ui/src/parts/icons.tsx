// Small pictures of states and places; each has a shape of its own, so that none is told by colour alone.

const PATHS: { [name: string]: string } = {
  inbox: "M2.5 9.5 4.5 3h7l2 6.5v3.5h-11zM2.5 9.5h3l1 1.5h3l1-1.5h3",
  sessions: "M2.5 4h11M2.5 8h11M2.5 12h7",
  agents: "M8 7.5a2.5 2.5 0 1 0 0-5 2.5 2.5 0 0 0 0 5zM3 13.5c.5-3 2.500-4 5-4s4.500 1 5 4",
  usage: "M3 13.500V9M6.500 13.500V5M10 13.500V7.500M13.500 13.500V2.500",
  system: "M2.500 3h11v4.500h-11zM2.500 9h11v4h-11zM5 5.250h.01M5 11h.01",
  needs: "M8 1.500 14.500 13.500h-13zM8 6v3.500M8 11.500v.2",
  failed: "M4 4l8 8M12 4l-8 8",
  running: "M4.500 2.500v11l8-5.500z",
  queued: "M8 14A6 6 0 1 0 8 2a6 6 0 0 0 0 12zM8 5v3l2 1.500",
  done: "M3 8.500l3.500 3.500L13 4.500",
  pinned: "M10 2 14 6l-3 1-2.500 4L5 7.500 9 5zM6.500 9.500 2.500 13.500",
  bell: "M4 11V7.500a4 4 0 0 1 8 0V11l1 1.500H3zM6.500 14h3",
  theme: "M8 2a6 6 0 1 0 0 12zM8 2a6 6 0 0 1 0 12",
  raw: "M6 3c-2 0-2 1-2 2.500S3.500 8 2.500 8c1 0 1.500 1 1.500 2.500S4 13 6 13M10 3c2 0 2 1 2 2.500S12.500 8 13.500 8c-1 0-1.500 1-1.500 2.500S12 13 10 13",
  link: "M6.500 9.500l3-3M7 4.500 8.500 3a3 3 0 0 1 4.500 4.500L11.500 9M9 11.500 7.500 13A3 3 0 0 1 3 8.500L4.500 7",
  attach: "M12.500 7.500 7.500 12.500a3 3 0 0 1-4.300-4.300l5.500-5.500a2 2 0 0 1 2.900 2.900L6.200 11",
  out: "M6.500 2.500h-4v11h4M10 5l3 3-3 3M13 8H6",
};

export function Icon({ name }: { name: string }) {
  return (
    <svg class="icon" viewBox="0 0 16 16" aria-hidden="true" focusable="false">
      <path d={PATHS[name] ?? ""} />
    </svg>
  );
}
