/** Who has signed in, and a way out. */

import { useEffect, useState, type ReactNode } from "react";

import { post, session } from "./api";

export function Person(): ReactNode {
  const [who, setWho] = useState<{ name: string; signedIn: boolean } | null>(null);
  useEffect(() => {
    session().then((s) => setWho(s.person === null ? null : { name: s.person, signedIn: s.signed_in }), () => undefined);
  }, []);
  if (who === null) return null;
  return (
    <span className="person">
      {who.name}
      {who.signedIn && <button type="button" onClick={() => void post("/logout", {}).finally(() => location.reload())}>sign out</button>}
    </span>
  );
}
